package streams

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What is read comes once over the connection, whatever else listens for answers there.
func TestWhatIsReadComesOnce(t *testing.T) {
	js := connect(t, startServer(t))
	ctx := testContext(t)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, AllowDirect: true, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	const n = 100
	for range n {
		if _, err := js.Publish(ctx, "a", make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	before := js.Conn().Stats().InMsgs
	page, err := Read{Stream: "S", Filter: "a"}.Page(ctx, js)
	if came := js.Conn().Stats().InMsgs - before; err != nil || len(page) != n || came != n+1 {
		t.Errorf("%d messages were read, %v, and %d came; want %d and one more that says so", len(page), err, came, n)
	}
}

// A producer may give an event headers with which the server says where it lies, or
// that there are no more: what the server says counts.
func TestHeadersThatOnlyTheServerMeans(t *testing.T) {
	js := connect(t, startServer(t))
	ctx := testContext(t)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"a"}, AllowDirect: true, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	for _, header := range []nats.Header{
		{"Status": {"204"}, "Description": {"EOB"}}, {"Status": {"404"}}, {"Status": {"503"}},
		{jetstream.SequenceHeader: {"77"}, jetstream.SubjectHeader: {"b"}, jetstream.TimeStampHeaer: {"now"}, "Nats-Num-Pending": {"x"}, "Nats-Last-Sequence": {"99"}},
		nil,
	} {
		if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: "a", Header: header}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := Read{Stream: "S", Filter: "a"}.Page(ctx, js)
	if err != nil || len(page) != 5 {
		t.Fatalf("%d messages, %v; want 5", len(page), err)
	}
	for i, m := range page {
		if m.Seq != uint64(i+1) || m.Subject != "a" || m.Time.IsZero() || m.Pending != uint64(4-i) {
			t.Errorf("message %d is %+v", i+1, m)
		}
	}
}
