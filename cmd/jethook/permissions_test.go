package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"jethook/streams"
)

// permissions runs the command, which asks no server.
func permissions(t *testing.T, wantExit int, args ...string) (stdout, stderr string) {
	t.Helper()
	w := &world{T: t, url: "nats://127.0.0.1:1"}
	return w.run(wantExit, append([]string{"streams", "permissions"}, args...)...)
}

// TestPermissionsArePrintedAsNATSReadsThem compares what nats-server makes of
// the printed block with what is meant.
func TestPermissionsArePrintedAsNATSReadsThem(t *testing.T) {
	for _, namespace := range []string{"webhooks", "acme-7"} {
		names, err := streams.NewNames(namespace)
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range streams.Roles() {
			p, err := names.Permissions(role, streams.PermissionOptions{})
			if err != nil {
				t.Fatal(err)
			}
			block, _ := permissions(t, exitDone, string(role), "--namespace", namespace)
			contains(t, block, "NATS_INBOX_PREFIX="+p.Inbox+"\n", "# "+p.Publish[0].Purpose+"\n")
			file := filepath.Join(t.TempDir(), "nats.conf")
			if err := os.WriteFile(file, []byte("authorization: {users: [{user: u, password: p\n"+block+"}]}"), 0o600); err != nil {
				t.Fatal(err)
			}
			o, err := server.ProcessConfigFile(file)
			if err != nil {
				t.Fatalf("%s: %v\n%s", role, err, block)
			}
			read := o.Users[0].Permissions
			for side, got := range map[string]*server.SubjectPermission{"publish": read.Publish, "subscribe": read.Subscribe} {
				want, deny := streams.Subjects(p.Publish), streams.Subjects(p.Deny)
				if side == "subscribe" {
					want, deny = streams.Subjects(p.Subscribe), nil
				}
				slices.Sort(got.Allow)
				slices.Sort(got.Deny)
				if !slices.Equal(got.Allow, want) || !slices.Equal(got.Deny, deny) || read.Response != nil {
					t.Errorf("%s may %s %v, not %v", role, side, got.Allow, want)
				}
			}
		}
	}
}

func TestPermissionsAsFlagsAndAsJSON(t *testing.T) {
	flags, hint := permissions(t, exitDone, "producer", "--tenant", "acme", "--format", "nsc")
	if want := "--allow-pub 'webhooks.events.acme.>' --allow-sub '_INBOX_producer.webhooks.acme.>' --deny-pub 'webhooks.events.acme.jethook,webhooks.events.acme.jethook.>'\n"; flags != want {
		t.Errorf("it prints %s, not %s", flags, want)
	}
	contains(t, hint, "NATS_INBOX_PREFIX=_INBOX_producer.webhooks.acme")
	text, _ := permissions(t, exitDone, "worker", "--ordered", "--json")
	var printed permissionsJSON
	if err := json.Unmarshal([]byte(text), &printed); err != nil {
		t.Fatal(err)
	}
	if printed.Role != streams.Worker || printed.InboxPrefix != "_INBOX_worker.webhooks" || strings.Count(text, "\n") != 1 ||
		!slices.Contains(printed.Permissions.Publish.Allow, "$JS.API.CONSUMER.CREATE.WEBHOOKS_EVENTS.*") ||
		!slices.Equal(printed.Permissions.Subscribe.Allow, []string{"_INBOX_worker.webhooks.>"}) {
		t.Errorf("it prints %s", text)
	}
}

// TestAProducersOwnAccountIsPrintedAsNATSReadsIt shows the form only: that it works,
// and keeps out who is hostile, is shown by test/e2e.
func TestAProducersOwnAccountIsPrintedAsNATSReadsIt(t *testing.T) {
	for _, args := range [][]string{{}, {"--tenant", "acme"}} {
		text, _ := permissions(t, exitDone, append([]string{"producer", "--account", "HOOKS"}, args...)...)
		_, rest, _ := strings.Cut(text, "# among the exports of account HOOKS:\n")
		exports, account, _ := strings.Cut(rest, "# among the accounts")
		file := filepath.Join(t.TempDir(), "nats.conf")
		conf := "accounts: {HOOKS: {jetstream: enabled, exports: [" + exports + "]}\n#" + account + "}"
		if err := os.WriteFile(file, []byte(strings.Replace(conf, "users: []", "users: [{user: u, password: p}]", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := server.ProcessConfigFile(file)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		same, _ := permissions(t, exitDone, append([]string{"producer", "--json"}, args...)...)
		var want permissionsJSON
		if err := json.Unmarshal([]byte(same), &want); err != nil {
			t.Fatal(err)
		}
		read := o.Users[0].Permissions
		if !slices.Equal(read.Publish.Allow, want.Permissions.Publish.Allow) || !slices.Equal(read.Publish.Deny, want.Permissions.Publish.Deny) ||
			!slices.Equal(read.Subscribe.Allow, want.Permissions.Subscribe.Allow) {
			t.Errorf("%v: its users may publish %v and listen to %v", args, read.Publish, read.Subscribe)
		}
	}
	commands, _ := permissions(t, exitDone, "producer", "--tenant", "acme", "--account", "HOOKS", "--format", "nsc")
	if want := `nsc add account --name 'producer~webhooks~acme' --allow-pub 'webhooks.events.acme.>' --allow-sub '_INBOX_producer.webhooks.acme.>' --deny-pub 'webhooks.events.acme.jethook,webhooks.events.acme.jethook.>'
nsc add export --account 'HOOKS' --service --private --subject 'webhooks.events.acme.>'
nsc generate activation --account 'HOOKS' --target-account 'producer~webhooks~acme' --subject 'webhooks.events.acme.>' --output-file 'producer~webhooks~acme.jwt'
nsc add import --account 'producer~webhooks~acme' --token 'producer~webhooks~acme.jwt'
`; commands != want {
		t.Errorf("it prints %s, not %s", commands, want)
	}
	document, _ := permissions(t, exitDone, "producer", "--account", "HOOKS", "--json")
	contains(t, document, `"account":{"name":"producer~webhooks","from":"HOOKS","imports":["webhooks.events.>"]}`)
}

func TestPermissionsThatThereAreNotAreWrongUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"admin"}, {"reader", "--tenant", "acme"}, {"producer", "--tenant", "*"}, {"operator", "--ordered"}, {"worker", "--format", "yaml"},
		{"reader", "--account", "HOOKS"}, {"producer", "--account", "HO OKS"}, {"producer", "--account", "HOOKS'"}, {"producer", "--account", ""}, {"producer", "--tenant="}} {
		if _, stderr := permissions(t, exitUsage, args...); stderr == "" {
			t.Errorf("%q: it does not say why", args)
		}
	}
}
