//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// follow makes the log a step more detailed at each SIGUSR1, and a step less at
// each SIGUSR2, until it is stopped.
func (l *logLevel) follow() (stop func()) {
	received := make(chan os.Signal, 8)
	done := make(chan struct{})
	signal.Notify(received, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for {
			select {
			case s := <-received:
				if s == syscall.SIGUSR1 {
					l.step(-1)
				} else {
					l.step(1)
				}
			case <-done:
				return
			}
		}
	}()
	return func() { signal.Stop(received); close(done) }
}
