package streams

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// drainFor bounds how long EndWatch waits for a watcher to end.
const drainFor = 5 * time.Second

// EndWatch stops a watch of a bucket and takes what the watcher still sends,
// because it blocks until it can.
func EndWatch(watcher jetstream.KeyWatcher) {
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
