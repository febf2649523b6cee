package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/streams"
)

// About is the header of one of jethook's own events that names, by its id, the
// endpoint which the event is about: that one never gets it.
const About = "Jethook-About"

// publishTimeout bounds the wait for NATS to take a word.
const publishTimeout = 5 * time.Second

// Publisher publishes messages and returns when NATS has them.
type Publisher interface {
	PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error)
}

// Publish publishes a word as an event of its tenant. Doing so again changes
// nothing.
func Publish(ctx context.Context, js Publisher, names streams.Names, w Word) error {
	m, err := w.message(names)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if _, err := js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("publish %s about %s: %w", w.Type, w.Endpoint, err)
	}
	return nil
}

func (w Word) message(names streams.Names) (*nats.Msg, error) {
	tenant, id := w.split()
	subject, err := names.Event(tenant, w.Type)
	if err != nil {
		return nil, fmt.Errorf("%s about %s: %w", w.Type, w.Endpoint, err)
	}
	m := nats.NewMsg(subject)
	if m.Data, err = json.Marshal(w); err != nil {
		return nil, fmt.Errorf("encode %s about %s: %w", w.Type, w.Endpoint, err)
	}
	m.Header.Set(jetstream.MsgIDHeader, w.ID())
	m.Header.Set("Content-Type", "application/json")
	m.Header.Set(About, id)
	return m, nil
}
