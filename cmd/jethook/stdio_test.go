package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

var errFull = errors.New("no space left")

// full takes nothing, as a full disk.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func (full) String() string { return "" }

// What a command says and nobody can read is no success: a secret may have been in it.
func TestOutputThatCannotBeWrittenIsAFailure(t *testing.T) {
	w := startDeadLetters(t, 1)
	file := w.file(strings.Replace(oneOfEach, "acme", "other", 1))
	for _, args := range [][]string{
		{"version"},
		{"secrets", "new-key"},
		{"secrets", "new-signing-key"},
		{"streams", "plan"},
		{"lane", "list"},
		{"endpoint", "apply", "-f", file},
		{"endpoint", "list"},
		{"endpoint", "show", "acme/crm"},
		{"endpoint", "pause", "acme/crm"},
		{"endpoint", "rotate-secret", "acme/crm"},
		{"audit"},
		{"dlq", "list"},
		{"dlq", "show", "1"},
		{"dlq", "stats"},
		{"publish", "acme", "order.created"},
		{"replay"},
	} {
		var errs bytes.Buffer
		_, stderr := w.runAs(&app{In: strings.NewReader(""), Out: full{}, Err: &errs}, exitFailed, args...)
		contains(t, stderr, errFull.Error())
	}
}

// A command that waits for somebody to type ends with the first signal.
func TestASignalEndsReading(t *testing.T) {
	w := startDeadLetters(t, 1)
	for _, args := range [][]string{
		{"publish", "acme", "order.created", "-d", "-"},
		{"verify", "--secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "--id", "a", "--timestamp", "1", "--signature", "v1,a"},
		{"endpoint", "apply", "-f", "-"},
		{"dlq", "purge"},
	} {
		typed, nobody := io.Pipe()
		stop := context.AfterFunc(w.ctx, func() { _ = nobody.Close() })
		var errs bytes.Buffer
		a := &app{In: signalling{typed, t}, Out: new(bytes.Buffer), Err: &errs, Interactive: true}
		_, stderr := w.runAs(a, exitFailed, args...)
		contains(t, stderr, "interrupted")
		if strings.Contains(stderr, "second signal") {
			t.Errorf("%s: it took two: %s", args, stderr)
		}
		stop()
		w.must(nobody.Close()) // which ends what still reads
	}
}

// signalling interrupts this process when it is read, and then has nothing.
type signalling struct {
	io.Reader

	t *testing.T
}

func (s signalling) Read(p []byte) (int, error) {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Signal(os.Interrupt)
	}
	if err != nil {
		s.t.Error(err)
	}
	return s.Reader.Read(p)
}

func TestPublishReadsNoEndlessBody(t *testing.T) {
	w := startWorld(t)
	var errs bytes.Buffer
	_, stderr := w.runAs(&app{In: zeros{}, Out: new(bytes.Buffer), Err: &errs}, exitFailed, "publish", "acme", "order.created", "--raw", "-d", "-")
	contains(t, stderr, "--data", "64 MiB")
	_, stderr = w.run(exitFailed, "publish", "acme", "order.created", "--raw", "-d", "@/dev/zero")
	contains(t, stderr, "--data", "64 MiB")
}
