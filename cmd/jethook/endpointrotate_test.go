package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/endpoint"
	"jethook/pkg/notify"
)

func TestWhoseSecretIsRotatedIsTold(t *testing.T) {
	w := startWorld(t)
	w.run(exitDone, "endpoint", "rotate-secret", "acme/crm", "--overlap", "2h")
	stream, err := w.js.Stream(w.ctx, w.names.Events())
	w.must(err)
	m, err := stream.GetLastMsgForSubject(w.ctx, "webhooks.events.acme.jethook.endpoint.secret_rotated")
	w.must(err)
	var said map[string]string
	w.must(json.Unmarshal(m.Data, &said))
	if said["endpoint"] != "acme/crm" || said["url"] != "https://crm.example.com/" || said["until"] <= said["at"] || strings.Contains(string(m.Data), "whsec_") {
		t.Errorf("it says %s", m.Data)
	}
	if m.Header.Get(notify.About) != "crm" || m.Header.Get(jetstream.MsgIDHeader) == "" {
		t.Errorf("it is published with %v", m.Header)
	}
	w.run(exitDone, "endpoint", "rotate-secret", "acme/crm", "--overlap", "0s")
	if n := w.count(w.names.Events()); n != 2 {
		t.Errorf("%d events tell of two rotations", n)
	}
}

// The new secret is in force and shown, whoever could not be told.
func TestASecretIsRotatedThoughNobodyCanBeTold(t *testing.T) {
	w := startWorld(t)
	before, err := w.store.Get(w.ctx, "acme/crm")
	w.must(err)
	w.must(w.js.DeleteStream(w.ctx, w.names.Events()))
	stdout, stderr := w.run(exitDone, "endpoint", "rotate-secret", "acme/crm", "--json")
	contains(t, stderr, "the secret of acme/crm is rotated, but its owner could not be told")
	var shown struct{ Endpoint, Secret string }
	w.must(json.Unmarshal([]byte(stdout), &shown))
	after, err := w.store.Get(w.ctx, "acme/crm")
	w.must(err)
	if after.Secrets[0].Secret == before.Secrets[0].Secret || after.Secrets[0].Secret.Reveal() != shown.Secret {
		t.Error("what is shown is not in force")
	}
}

func TestNobodyPublishesInJethooksName(t *testing.T) {
	w := startWorld(t)
	w.apply("acme/watcher", func(d *endpoint.Document) { d.Events = []string{"jethook.>"} })
	for _, eventType := range []string{"jethook", "jethook.endpoint.failing"} {
		_, stderr := w.run(exitUsage, "publish", "acme", eventType)
		contains(t, stderr, "types that begin with jethook are jethook's own")
	}
	w.run(exitDone, "publish", "acme", "jethooks.x")
}
