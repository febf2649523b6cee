package worker

import "time"

// inSync waits until the endpoints are what the bucket says, so that an event is
// not taken for one that nobody wants, nor an endpoint for one that is gone. It
// reports false when the attempts end first.
func (w *Worker) inSync() bool {
	if w.endpoints.InSync() {
		return true
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !w.endpoints.InSync() {
		select {
		case <-w.attempts.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}
