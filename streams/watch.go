package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// drainFor bounds how long a watch that is stopped waits for its watcher to end.
	drainFor = 5 * time.Second
	// quietFor is how long nothing comes when all that was there has come.
	quietFor = time.Second
	// waiting is how many entries a watch has ready for whoever reads several at once.
	waiting = 256
)

// errWatchClosed says that a watch ended by itself.
var errWatchClosed = errors.New("the subscription was closed")

// Watch follows a bucket. It gives what is there, then a nil entry, and then what
// changes.
//
// The client's own watcher gives its nil entry too early while the bucket is written:
// it counts, and what is written is counted too. A Watch gives it when there is no
// key left that was there when the watch began, as long as the bucket keeps two
// values of a key or more: of a bucket that keeps one, a value that is replaced
// before it was given comes as what replaced it, which may be later.
type Watch struct {
	updates chan jetstream.KeyValueEntry
	cancel  context.CancelFunc
	err     error
}

// WatchBucket begins to follow the keys of a bucket that match, until ctx ends or
// Stop is called.
func WatchBucket(ctx context.Context, kv jetstream.KeyValue, keys string, options ...jetstream.WatchOpt) (*Watch, error) {
	start, err := BucketInfo(ctx, kv)
	if err != nil {
		return nil, err
	}
	// The watcher would outlive its Stop if its context did not end.
	ctx, cancel := context.WithCancel(ctx)
	watcher, err := kv.Watch(ctx, keys, options...)
	if err != nil {
		cancel()
		return nil, err //nolint:wrapcheck // whoever calls says which bucket
	}
	w := &Watch{updates: make(chan jetstream.KeyValueEntry, waiting), cancel: cancel}
	go func() {
		defer close(w.updates)
		defer endWatcher(watcher)
		w.err = w.forward(ctx, kv, watcher.Updates(), start.State.LastSeq)
	}()
	return w, nil
}

// Updates are the entries. The channel is closed when the watch has ended.
func (w *Watch) Updates() <-chan jetstream.KeyValueEntry { return w.updates }

// Err says what ended the watch, once Updates is closed.
func (w *Watch) Err() error { return w.err }

// Stop ends the watch and returns when it has ended.
func (w *Watch) Stop() {
	w.cancel()
	for range w.updates { // until it is closed
	}
}

// forward gives what the watcher gives until ctx ends, the nil entry when it is time.
func (w *Watch) forward(ctx context.Context, kv jetstream.KeyValue, updates <-chan jetstream.KeyValueEntry, start uint64) error {
	give := func(entry jetstream.KeyValueEntry) {
		select {
		case w.updates <- entry:
		case <-ctx.Done():
		}
	}
	var last, until uint64
	marked, complete := false, false
	for {
		// The end of the bucket may be a key that is not asked for, or be purged.
		var quiet <-chan time.Time
		if marked && !complete {
			quiet = time.After(quietFor)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-quiet:
			last = until
		case entry, open := <-updates:
			switch {
			case !open:
				return errWatchClosed
			case entry != nil:
				last = entry.Revision()
				give(entry)
			default:
				now, err := BucketInfo(ctx, kv)
				if err != nil {
					return err
				}
				marked = true
				// Values come in the order of their revisions. What was there at the
				// start, or in the place of it, is at most as late as the last of now.
				if now.State.LastSeq != start {
					until = now.State.LastSeq
				}
			}
		}
		if marked && !complete && last >= until {
			complete = true
			give(nil)
		}
	}
}

// endWatcher stops a watcher and takes what it still sends, because it blocks until
// it can.
func endWatcher(watcher jetstream.KeyWatcher) {
	// An error means that the subscription is gone already.
	_ = watcher.Stop()
	timeout := time.After(drainFor)
	for {
		select {
		case _, open := <-watcher.Updates():
			if !open {
				return
			}
		case <-timeout:
			return
		}
	}
}

// BucketInfo returns what NATS says of the stream of a bucket.
func BucketInfo(ctx context.Context, kv jetstream.KeyValue) (*jetstream.StreamInfo, error) {
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // whoever calls says which bucket
	}
	bucket, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return nil, fmt.Errorf("bucket status of type %T has no stream info", status)
	}
	return bucket.StreamInfo(), nil
}
