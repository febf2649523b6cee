package fleet

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// entry is a heartbeat as the bucket has it.
type entry struct {
	jetstream.KeyValueEntry
	key   string
	value []byte
}

func (e entry) Key() string   { return e.key }
func (e entry) Value() []byte { return e.value }

// Whatever a heartbeat says, it counts for the replica under whose key it lies
// and for no other, and this replica goes on sharing with those alive.
func FuzzMember(f *testing.F) {
	f.Add("b", []byte(`{"id":"b","endpoints":7,"lanes":["default","bulk"]}`), "bulk")
	f.Add("b", []byte(`{"id":"self","lanes":[""]}`), "")
	f.Add("self", []byte(`{"lanes":["x","x","x"],"started":"9999-12-31T23:59:59Z"}`), "x")
	f.Add("b", []byte(`[]`), "default")
	f.Fuzz(func(t *testing.T, key string, value []byte, lane string) {
		m := memberOf(entry{key: key, value: value})
		if m.ID != key {
			t.Fatalf("the heartbeat of %q counts for %q", key, m.ID)
		}
		now := time.Now()
		r := newRoster(Member{ID: "self"}, now)
		r.hear(m, now)
		if n := len(r.live()); n != 1 && key == "self" || n != 2 && key != "self" {
			t.Fatalf("%d replicas are alive", n)
		}
		ranks := rankingOf(r.live(), "self")
		hashes := ranks.of(lane)
		if len(hashes) > 2 {
			t.Fatalf("%d replicas share lane %q", len(hashes), lane)
		}
		if rank := ranks.rank(hashes, "acme/crm"); rank < 0 || rank > len(hashes) {
			t.Fatalf("rank %d of %d", rank, len(hashes))
		}
	})
}
