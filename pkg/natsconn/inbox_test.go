package natsconn

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

func TestAnswersComeUnderTheInboxPrefix(t *testing.T) {
	_, url := startServer(t, server.Options{Users: []*server.User{
		{Username: "u", Password: "p", Permissions: &server.Permissions{Subscribe: &server.SubjectPermission{Allow: []string{"ask", "_INBOX_u.x.>"}}}},
	}})
	nc, err := Connect(Options{URL: url, User: "u", Password: "p", InboxPrefix: "_INBOX_u.x"}, "test", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, nc)
	sub, err := nc.SubscribeSync("ask")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		m, err := sub.NextMsg(testTimeout)
		if err == nil {
			err = m.Respond(nil)
		}
		answered <- err
	}()
	if _, err := nc.Request("ask", nil, testTimeout); err != nil {
		t.Errorf("no answer: %v", err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestAWrongInboxPrefixIsRefused(t *testing.T) {
	for _, prefix := range []string{">", "_INBOX.>", "_INBOX.*", "_INBOX.", "a b"} {
		_, err := Connect(Options{InboxPrefix: prefix}, "test", zerolog.Nop())
		if err == nil || !strings.Contains(err.Error(), "NATS_INBOX_PREFIX") || !strings.Contains(err.Error(), "such as _INBOX_worker") {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}
