package deadletter

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"jethook/streams"
)

// apiTimeout bounds a request to NATS.
const apiTimeout = 10 * time.Second

// inFlight is how many requests wait for their answers at a time. Measured:
// with 64 the server is busy; more brings nothing.
const inFlight = 64

// remove deletes a message. One that is gone already is fine, and not counted.
func (s *Store) remove(ctx context.Context, stream string, seq uint64) (removed bool, err error) {
	// Without no_erase the server overwrites the message first, which costs a
	// second write to the disk.
	ask := struct {
		Seq     uint64 `json:"seq"`
		NoErase bool   `json:"no_erase"`
	}{seq, true}
	get := struct {
		Seq uint64 `json:"seq"`
	}{seq}
	err = streams.Request(ctx, s.js, "STREAM.MSG.DELETE", stream, ask, &struct{}{})
	if err == nil {
		return true, nil
	}
	// For a message that is gone the server has several errors, some of which
	// mean other things too. So look whether it is.
	if gone := streams.Request(ctx, s.js, "STREAM.MSG.GET", stream, get, &struct{}{}); streams.Absent(err) || streams.Absent(gone) {
		return false, nil
	}
	return false, err
}

// removeAll deletes dead letters, many at a time, and returns how many it
// deleted.
func (s *Store) removeAll(ctx context.Context, seqs []uint64) (int, error) {
	var removed atomic.Int64
	err := parallel(len(seqs), func(i int) error {
		ok, err := s.remove(ctx, s.names.DeadLetters(), seqs[i])
		if ok {
			removed.Add(1)
		}
		return err
	})
	return int(removed.Load()), err
}

// purge deletes the dead letters under a subject with sequences below a bound
// and returns how many there were.
func (s *Store) purge(ctx context.Context, subject string, below uint64) (int, error) {
	ask := struct {
		Filter string `json:"filter"`
		Seq    uint64 `json:"seq"`
	}{subject, below}
	var answer struct {
		Purged int `json:"purged"`
	}
	err := streams.Request(ctx, s.js, "STREAM.PURGE", s.names.DeadLetters(), ask, &answer)
	return answer.Purged, err
}

// parallel calls do for 0 to n-1, up to inFlight at a time, and returns the
// first error. After an error it starts no more.
func parallel(n int, do func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range min(n, inFlight) {
		wg.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
