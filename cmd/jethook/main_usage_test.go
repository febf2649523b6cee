package main

import "testing"

// What is wrong in how a command was called is told as that, and not as a failure.
func TestWrongUsage(t *testing.T) {
	w := startWorld(t)
	commands := [][]string{
		{"lane", "remove", "BAD", "--yes"},
		{"endpoint", "list", "--tenant", "BAD"},
		{"attempts", "--tenant", "BAD"},
		{"attempts", "--endpoint", "nope"},
		{"dlq", "list", "--tenant", "BAD"},
		{"dlq", "purge", "--endpoint", "a/b/c"},
		{"dlq", "purge", "--yes", "--tenant", ""}, // of an unset variable: not everybody's
		{"dlq", "purge", "--yes", "--endpoint="},
		{"dlq", "purge", "--yes", "--type", ""},
		{"dlq", "purge", "--yes", "--reason", ""},
		{"replay", "--tenant", ""},
		{"streams", "permissions", "producer", "--tenant", ""},
		{"streams", "permissions", "producer", "--account", ""},
		{"streams", "permissions", "producer", "--tenant", "BAD"},
		{"publish", "BAD", "order.created"},
		{"publish", "acme", "order.created", "--rate=nan"},
		{"publish", "acme", "order.created", "--rate=inf"},
		{"replay", "--rate=nan"},
		{"replay", "--rate=inf"},
	}
	for _, name := range []string{"nope", "SIG/A", "a/b/c", "acme/", ""} {
		for _, command := range []string{"show", "pause", "resume", "enable", "test", "rotate-secret"} {
			commands = append(commands, []string{"endpoint", command, name})
		}
		commands = append(commands, []string{"endpoint", "remove", name, "--yes"}, []string{"endpoint", "remove", name, "--waiting", "discard"})
	}
	for _, args := range commands {
		w.run(exitUsage, args...)
	}
	w.run(exitFailed, "endpoint", "show", "acme/none")
	w.run(exitFailed, "lane", "remove", "none", "--yes")
	_, said := w.run(exitUsage, "dlq", "list", "--since", "-1h")
	contains(t, said, `--since: expected time value but got "-1h"`)
}
