package worker

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// rawMsg is a message of no server.
type rawMsg struct{}

func (rawMsg) Metadata() (*jetstream.MsgMetadata, error) { return nil, errNotForThis }
func (rawMsg) Data() []byte                              { return nil }
func (rawMsg) Headers() nats.Header                      { return nil }
func (rawMsg) Subject() string                           { return "" }
func (rawMsg) Reply() string                             { return "" }
func (rawMsg) Ack() error                                { return nil }
func (rawMsg) DoubleAck(context.Context) error           { return nil }
func (rawMsg) Nak() error                                { return nil }
func (rawMsg) NakWithDelay(time.Duration) error          { return nil }
func (rawMsg) InProgress() error                         { return nil }
func (rawMsg) Term() error                               { return nil }
func (rawMsg) TermWithReason(string) error               { return nil }
