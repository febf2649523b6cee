package natsconn

import "testing"

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
