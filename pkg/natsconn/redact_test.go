package natsconn

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for servers, want := range map[string]string{
		"nats://127.0.0.1:4222":                       "nats://127.0.0.1:4222",
		"127.0.0.1:4222":                              "127.0.0.1:4222",
		"localhost":                                   "localhost",
		"nats://user:canary@host:4222":                "nats://***@host:4222",
		"nats://canary@host":                          "nats://***@host",
		"user:canary@host:4222":                       "***@host:4222",
		"tls://u:canary@a:1, nats://u:canary@b:2,c:3": "tls://***@b:2,c:3",
		"nats://u:can%ary@host:4222":                  "nats://***@host:4222",
		"nats://u:can@ary@host:4222":                  "nats://***@host:4222",
		"nats://u:can/ary@host:4222":                  "nats://***@host:4222",
		"nats://u:can,ary@host:4222":                  "nats://***@host:4222",
		"nats://u:c@n,ary@host:4222":                  "nats://***@host:4222",
		"u:can://ary@host:4222":                       "***@host:4222",
		"nats://u:can#ary@host:4222":                  "nats://***@host:4222",
		"wss://u:canary@host/path":                    "wss://***@host/path",
		"nats://u:12,34,56@host:4222,nats://b:1":      "nats://***@host:4222,nats://b:1",
		"nats://a:1,nats://u:canary@b:2":              "nats://***@b:2",
		"":                                            "",
	} {
		if got := redact(servers); got != want {
			t.Errorf("redact(%q) = %q, want %q", servers, got, want)
		}
	}
}

// Options that reach a log or JSON by accident tell no password and no token.
func TestOptionsHideSecrets(t *testing.T) {
	o := Options{URL: "nats://host", User: "u", Password: "canary", Token: "canary"}
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(o), fmt.Sprintf("%+v", o), fmt.Sprintf("%#v", o), fmt.Sprintf("%q", o), string(data)} {
		if strings.Contains(text, "canary") {
			t.Errorf("a secret shows: %s", text)
		}
	}
}
