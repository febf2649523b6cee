package event

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrGone is returned for an event that the stream holds no more.
var ErrGone = errors.New("the event is no longer in its stream")

// Body reads the body of the event that a stream holds under seq.
func Body(ctx context.Context, js jetstream.JetStream, stream string, seq uint64) ([]byte, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", stream, err)
	}
	m, err := s.GetMsg(ctx, seq)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, fmt.Errorf("message %d of %s: %w", seq, stream, ErrGone)
	case err != nil:
		return nil, fmt.Errorf("read message %d of %s: %w", seq, stream, err)
	}
	return m.Data, nil
}
