package worker

import (
	"context"
	"time"
)

// AckWait is ten seconds: what a killed replica held comes to the others soon.
// A message that is worked on for longer is kept by telling the server so.
const keepEvery = 2 * time.Second

// keepalive sends InProgress for what has been worked on for a while, until ctx
// ends.
func (w *Worker) keepalive(ctx context.Context) {
	ticker := time.NewTicker(w.keepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, l := range w.everyLane() {
				l.pool.each(func(m *message) {
					last := m.progress.Load()
					// A message that matches several endpoints sits in several seats.
					if now.UnixNano()-last >= int64(w.keepEvery) && m.progress.CompareAndSwap(last, now.UnixNano()) {
						w.complain(m.InProgress(), "progress")
					}
				})
			}
		}
	}
}
