package deadletter

import (
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/streams"
)

// Letter is a dead letter as it is shown.
type Letter struct {
	Seq       uint64          `json:"seq"` // in the stream of dead letters
	EventID   string          `json:"event_id"`
	EventType string          `json:"event_type"`
	EventTime time.Time       `json:"event_time"`
	EventSeq  uint64          `json:"-"` // in the stream of events
	Tenant    string          `json:"tenant"`
	Endpoint  string          `json:"endpoint"`
	URL       string          `json:"url"` // as it may be shown; empty where the endpoint was gone
	Reason    delivery.Reason `json:"reason"`
	// Attempts is how many attempts were ever made, replays included and failed
	// probes left out; where the history is full (delivery.MaxHistory), at least
	// that many.
	Attempts   int       `json:"attempts"`
	LastStatus int       `json:"last_status"` // 0 when no response came
	LastError  string    `json:"last_error"`
	DeadAt     time.Time `json:"dead_at"` // when it was stored
	// History holds the attempts, oldest first. Never nil.
	History []delivery.Attempt `json:"history"`
	// Headers are those that the event passes on to receivers. Never nil.
	Headers map[string]string `json:"headers"`
	// Payload is the body: the JSON value that it is, else its text as a JSON
	// string. Only Store.Get reads it.
	Payload json.RawMessage `json:"payload,omitempty"`
	// PayloadBase64 is a body that is not UTF-8, in the place of Payload.
	PayloadBase64 []byte `json:"payload_base64,omitempty"`
	// Problem says what of the letter could not be read. A letter with a
	// problem but without a reason is not one that jethook wrote.
	Problem string `json:"problem,omitempty"`
}

// Name returns TENANT/ENDPOINT.
func (l *Letter) Name() string { return l.Tenant + "/" + l.Endpoint }

// stored is a message of the stream of dead letters.
type stored struct {
	subject string
	seq     uint64
	time    time.Time
	header  nats.Header
	body    []byte
}

// open is a stored message, read.
type open struct {
	stored
	letter   Letter // without the payload
	delivery delivery.Delivery
}

// read reads a stored message. What cannot be read is the letter's Problem:
// one broken message must not hide the others.
func read(names streams.Names, m stored) open {
	o := open{stored: m, letter: Letter{Seq: m.seq, DeadAt: m.time.UTC(),
		History: []delivery.Attempt{}, Headers: map[string]string{}}}
	err := o.decode(names)
	if err != nil {
		o.letter.Problem = err.Error()
	}
	return o
}

func (o *open) decode(names streams.Names) error {
	l := &o.letter
	tenant, endpoint, err := names.ParseDeadLetter(o.subject)
	if err != nil {
		return err
	}
	l.Tenant, l.Endpoint = tenant, endpoint
	why, err := decodeDeath(o.header)
	if err != nil {
		return err
	}
	d, err := delivery.Decode(tenant, endpoint, o.header, o.body)
	if err != nil {
		return err
	}
	o.delivery = d
	l.EventID, l.EventType, l.EventTime, l.EventSeq = d.Event.ID, d.Event.Type, d.Event.Time, d.Event.Seq
	l.URL, l.Reason, l.LastStatus, l.LastError = why.URL, why.Reason, why.LastStatus, why.LastError
	l.Attempts = d.State.Made()
	if d.State.History != nil {
		l.History = d.State.History
	}
	for _, f := range d.Event.Fields {
		l.Headers[f.Name] = f.Value
	}
	return nil
}

func (l *Letter) setPayload(body []byte) { l.Payload, l.PayloadBase64 = event.Payload(body) }
