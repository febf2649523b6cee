package streams

import (
	"context"
	"fmt"
	"testing"
	"time"

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
	const n = 2*readMessages + 1
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
