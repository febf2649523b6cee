package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func readAll(t *testing.T, js jetstream.JetStream, r Read) (seqs []uint64) {
	t.Helper()
	for m, err := range r.All(testContext(t), js) {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, m.Seq)
	}
	return seqs
}

// Read reads each message once, however many pages they take, and ends with the
// last that there was.
func TestRead(t *testing.T) {
	js := connect(t, startServer(t))
	ctx := testContext(t)
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"a.*", "b"}, AllowDirect: true, Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, js, Read{Stream: "S", Filter: "a.*"}); got != nil {
		t.Errorf("an empty stream has %v", got)
	}
	const n = 2001
	large := make([]byte, 100<<10) // some pages end by their size
	for i := range n {
		body := []byte(nil)
		if i < 200 {
			body = large
		}
		for _, subject := range []string{fmt.Sprintf("a.%d", i%3), "b"} {
			if _, err := js.PublishAsync(subject, body); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-js.PublishAsyncComplete()
	got := readAll(t, js, Read{Stream: "S", Filter: "a.*"})
	if len(got) != n {
		t.Fatalf("%d messages, want %d", len(got), n)
	}
	for i, seq := range got {
		if seq != uint64(2*i+1) {
			t.Fatalf("message %d has sequence %d", i, seq)
		}
	}
	if got := readAll(t, js, Read{Stream: "S", Filter: "a.*", First: 100, Last: 103}); fmt.Sprint(got) != "[101 103]" {
		t.Errorf("from 100 to 103 there are %v", got)
	}
	m, err := s.GetMsg(ctx, 2*n-1)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, js, Read{Stream: "S", Filter: "a.*", Since: m.Time}); len(got) == 0 || got[len(got)-1] != 2*n-1 {
		t.Errorf("since the last there are %v", got)
	}
	if got := readAll(t, js, Read{Stream: "S", Filter: "a.*", Since: time.Now().Add(time.Hour)}); got != nil {
		t.Errorf("in the future there are %v", got)
	}
	first, found, err := Read{Stream: "S", Filter: "b"}.Next(ctx, js)
	if err != nil || !found || first.Seq != 2 {
		t.Errorf("the first of b is %+v, %v, %v", first, found, err)
	}
	if _, found, err := (Read{Stream: "S", Filter: "c"}).Next(ctx, js); found || err != nil {
		t.Errorf("there is %v, %v", found, err)
	}
	for m, err := range (Read{Stream: "S", Filter: "a.*"}).All(ctx, js) {
		if err != nil || m.Seq != 1 {
			t.Errorf("got %+v, %v", m, err)
		}
		break // which ends it
	}
}

// losing returns another way to JetStream, on which messages that are read get lost when
// lost says so of the nth that comes by, counted from 1, or of its sequence.
func losing(t *testing.T, js jetstream.JetStream, lost func(n int, seq string) bool) jetstream.JetStream {
	t.Helper()
	nc := js.Conn()
	var n atomic.Int64
	// The reader may have all it wants, and the test be over, before the last answer
	// of a page has come by: that the connection is closed then is no fault.
	report := func(err error) {
		if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			t.Error(err)
		}
	}
	prefix := nats.NewInbox()
	_, err := nc.Subscribe(prefix+".>", func(ask *nats.Msg) {
		inbox := nc.NewInbox()
		answers, err := nc.Subscribe(inbox, func(m *nats.Msg) {
			if seq := m.Header.Get(jetstream.SequenceHeader); seq != "" && lost(int(n.Add(1)), seq) {
				return
			}
			m.Subject = ask.Reply
			report(nc.PublishMsg(m))
		})
		if err != nil {
			report(err)
			return
		}
		t.Cleanup(func() { _ = answers.Unsubscribe() })
		report(nc.PublishRequest("$JS.API."+strings.TrimPrefix(ask.Subject, prefix+"."), inbox, ask.Data))
	})
	if err != nil {
		t.Fatal(err)
	}
	way, err := jetstream.NewWithAPIPrefix(nc, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return way
}

// Whichever message is lost on the way, the first of a page as well as any other, it
// is asked for again. One that is lost again and again is an error, and no end.
func TestReadAsksAgainForWhatWasLost(t *testing.T) {
	js := connect(t, startServer(t))
	ctx := testContext(t)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, AllowDirect: true, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	const n = 7
	for range n {
		if _, err := js.Publish(ctx, "a", nil); err != nil {
			t.Fatal(err)
		}
	}
	r := Read{Stream: "S", Filter: "a", Most: 3}
	for k := 1; k <= n; k++ {
		got := readAll(t, losing(t, js, func(i int, _ string) bool { return i == k }), r)
		if fmt.Sprint(got) != "[1 2 3 4 5 6 7]" {
			t.Errorf("message %d was lost, and %v are read", k, got)
		}
	}
	var got []uint64
	var failed error
	for m, err := range r.All(ctx, losing(t, js, func(_ int, seq string) bool { return seq == "4" })) {
		if failed = err; err == nil {
			got = append(got, m.Seq)
		}
	}
	if fmt.Sprint(got) != "[1 2 3]" || !errors.Is(failed, errNoAnswer) {
		t.Errorf("the fourth is always lost: %v are read, then %v", got, failed)
	}
}

func TestReadSaysWhatIsMissing(t *testing.T) {
	js := connect(t, startServer(t))
	ctx := testContext(t)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "a", nil); err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	for name, r := range map[string]struct {
		ctx  context.Context
		read Read
	}{
		"no stream":        {ctx, Read{Stream: "T", Filter: ">"}},
		"no direct access": {ctx, Read{Stream: "S", Filter: "a"}},
		"canceled":         {canceled, Read{Stream: "S", Filter: "a"}},
	} {
		n := 0
		for _, err := range r.read.All(r.ctx, js) {
			if n++; err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d answers, want one error", name, n)
		}
	}
}
