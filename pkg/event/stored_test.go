package event

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestBody(t *testing.T) {
	const timeout = 2 * time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(timeout) {
		t.Fatal("NATS server is not ready")
	}
	closed := make(chan struct{})
	nc, err := nats.Connect(s.ClientURL(), nats.Timeout(timeout), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); <-closed })
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"e"}})
	if err != nil {
		t.Fatal(err)
	}
	bodies := [][]byte{[]byte("one"), {0, 1, 255, '\r', '\n'}, bytes.Repeat([]byte("x"), 900_000), {}}
	for _, body := range bodies {
		if _, err := js.Publish(ctx, "e", body); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range bodies {
		got, err := Body(ctx, js, "EVENTS", uint64(i+1))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("Body of message %d: %d bytes, %v, want %d", i+1, len(got), err, len(want))
		}
	}
	if err := stream.DeleteMsg(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{1, 99} {
		if _, err := Body(ctx, js, "EVENTS", seq); !errors.Is(err, ErrGone) {
			t.Errorf("Body of message %d, which is not there: %v, want ErrGone", seq, err)
		}
	}
	if _, err := Body(ctx, js, "OTHER", 2); err == nil || errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "OTHER") {
		t.Errorf("Body from a stream that is not there: %v, want an error that names it and is not ErrGone", err)
	}
}
