package streams

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// However the bucket is written meanwhile, a watch has given every key when it says
// so. The client's own watcher has not, in some of these rounds.
func TestWatchGivesEveryKeyOfABucketThatIsWritten(t *testing.T) {
	js, ctx := connect(t, startServer(t)), testContext(t)
	const keys, history, writers, rounds = 2000, 5, 16, 40
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "b", History: history})
	if err != nil {
		t.Fatal(err)
	}
	put := func(i int) {
		if _, err := kv.Put(ctx, fmt.Sprintf("k%04d", i), nil); err != nil {
			t.Error(err)
		}
	}
	for i := range history * keys {
		put(i % keys)
	}
	for round := range rounds {
		// Each key so often that what is there at the start is not forgotten.
		order := slices.Concat(rand.Perm(keys), rand.Perm(keys), rand.Perm(keys))
		var next, stopped atomic.Int64
		var writing sync.WaitGroup
		for range writers {
			writing.Go(func() {
				for stopped.Load() == 0 {
					if i := int(next.Add(1)); i < len(order) {
						put(order[i])
					}
				}
			})
		}
		for next.Load() < 10*writers {
			runtime.Gosched()
		}
		w, err := WatchBucket(ctx, kv, jetstream.AllKeys)
		if err != nil {
			t.Fatal(err)
		}
		met := map[string]bool{}
		for entry := range w.Updates() {
			if entry == nil {
				break
			}
			met[entry.Key()] = true
		}
		if len(met) != keys {
			t.Errorf("round %d: %d of %d keys", round, len(met), keys)
		}
		stopped.Store(1)
		writing.Wait()
		w.Stop()
	}
}

// Where the bucket's last value is one that is not asked for, or was purged, the
// watch says at once that it gave everything if nobody writes, and soon otherwise.
func TestWatchOfABucketWhoseEndDoesNotCome(t *testing.T) {
	js, ctx := connect(t, startServer(t)), testContext(t)
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "b", History: 2})
	if err != nil {
		t.Fatal(err)
	}
	put := func(key string) {
		t.Helper()
		if _, err := kv.Put(ctx, key, nil); err != nil {
			t.Fatal(err)
		}
	}
	read := func(during func()) (keys []string, took time.Duration) {
		t.Helper()
		began := time.Now()
		w, err := WatchBucket(ctx, &duringStatus{kv, during, 0}, "a.*", jetstream.IgnoreDeletes())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		for entry := range w.Updates() {
			if entry == nil {
				return keys, time.Since(began)
			}
			keys = append(keys, entry.Key())
		}
		t.Fatal(w.Err())
		return nil, 0
	}
	began := time.Now()
	const reads = 10
	for range reads {
		if keys, _ := read(func() {}); len(keys) != 0 {
			t.Errorf("an empty bucket has %q", keys)
		}
	}
	put("a.1")
	put("b.1")
	for range reads {
		if keys, _ := read(func() {}); fmt.Sprint(keys) != "[a.1]" {
			t.Errorf("got %q", keys)
		}
	}
	if took := time.Since(began); took > reads*quietFor {
		t.Errorf("it was waited for what does not come: %s", took)
	}
	if keys, took := read(func() { put("b.2") }); fmt.Sprint(keys) != "[a.1]" || took < quietFor {
		t.Errorf("while others are written: got %q, after %s", keys, took)
	}
	if keys, _ := read(func() { put("a.2"); put("b.2") }); len(keys) != 2 {
		t.Errorf("while these and others are written: got %q", keys)
	}
}

// duringStatus is a bucket that is written when a watch looks at it once more.
type duringStatus struct {
	jetstream.KeyValue

	write func()
	looks int
}

func (d *duringStatus) Status(ctx context.Context) (jetstream.KeyValueStatus, error) {
	if d.looks++; d.looks == 2 {
		d.write()
	}
	return d.KeyValue.Status(ctx)
}
