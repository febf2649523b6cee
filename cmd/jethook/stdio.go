package main

import (
	"context"
	"errors"
	"io"
	"sync"
)

// output remembers the first error of writing to it, so that a command whose
// words were lost does not end as if they had been read.
type output struct {
	io.Writer

	mu  sync.Mutex
	err error
}

// Write writes on, or fails.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.err == nil {
			o.err = err
		}
	}
	return n, err //nolint:wrapcheck // it is the writer's
}

// failure returns the first error.
func (o *output) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// input is read until ctx ends: the system would wait for what somebody types.
type input struct {
	io.Reader

	ctx context.Context //nolint:containedctx // a Reader is given none
}

var errInterrupted = errors.New("interrupted")

// Read reads on, or fails when ctx ends. What comes after that is lost.
func (i input) Read(p []byte) (int, error) {
	own := make([]byte, len(p)) // p is the caller's again when ctx ends
	var n int
	var err error
	read := make(chan struct{})
	go func() {
		defer close(read)
		n, err = i.Reader.Read(own)
	}()
	select {
	case <-i.ctx.Done():
		return 0, errInterrupted
	case <-read:
		return copy(p, own[:n]), err //nolint:wrapcheck // io.EOF must stay what it is
	}
}

// maxBody bounds the body that is read. NATS takes no larger message.
const maxBody = 64 << 20

// readBody reads the body of an event.
func readBody(in io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(in, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = errors.New("it is larger than 64 MiB, which no webhook of jethook's is")
	}
	return body, err //nolint:wrapcheck // whoever calls says what was read
}
