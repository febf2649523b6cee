package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/pkg/event"
	"jethook/streams"
)

// The headers of a stored delivery, beside those that the event passes on.
const (
	// Header holds the event's identity and the delivery's state, as JSON.
	Header = "Jethook-Delivery"
	// BodyHeader is set to BodyInEvent where the body would not fit beside the
	// state under the server's max_payload: it is in the event.
	BodyHeader  = "Jethook-Body"
	BodyInEvent = "in-event"
)

// envelope is the JSON in Header.
type envelope struct {
	EventID   string    `json:"event_id"`
	EventType string    `json:"event_type"`
	EventTime time.Time `json:"event_time"`
	EventSeq  uint64    `json:"event_seq"`
	State
}

// Encode returns the delivery as a message for subject. Where header and body
// together would exceed limit (the server's max_payload), the body stays out
// and Decode says so.
func (d *Delivery) Encode(subject string, limit int64) (*nats.Msg, error) {
	state, err := json.Marshal(envelope{d.Event.ID, d.Event.Type, d.Event.Time.UTC(), d.Event.Seq, d.State})
	if err != nil {
		return nil, fmt.Errorf("encode the state of delivery %s of event %s: %w", d.Name(), d.Event.ID, err)
	}
	m := &nats.Msg{Subject: subject, Header: nats.Header{Header: {string(state)}}, Data: d.Event.Body}
	for _, f := range d.Event.Fields {
		m.Header[f.Name] = append(m.Header[f.Name], f.Value)
	}
	const reserve = 1024 // for the headers that are added on the way: ids, expectations, a schedule, a reason
	if limit > 0 && int64(m.Size()+reserve) > limit {
		m.Header.Set(BodyHeader, BodyInEvent)
		m.Data = nil
	}
	return m, nil
}

// ErrNoState is what Decode returns for a message that is not a delivery.
var ErrNoState = errors.New("no " + Header + " header: not a delivery")

// Decode reads a delivery from a stored message for a tenant's endpoint.
// bodyInEvent says that the body must be read from the event.
func Decode(tenant, endpoint string, header nats.Header, body []byte) (d Delivery, bodyInEvent bool, err error) {
	text := header.Get(Header)
	if text == "" {
		return Delivery{}, false, ErrNoState
	}
	var env envelope
	if err := json.Unmarshal([]byte(text), &env); err != nil {
		return Delivery{}, false, fmt.Errorf("header %s: %w", Header, err)
	}
	if err := event.CheckID(env.EventID); err != nil {
		return Delivery{}, false, fmt.Errorf("header %s: %w", Header, err)
	}
	if env.Attempts < 0 || !streams.CheckToken(env.Origin) {
		return Delivery{}, false, fmt.Errorf("header %s: attempts %d, origin %q: not what jethook writes", Header, env.Attempts, env.Origin)
	}
	d = Delivery{
		Event: event.Event{ID: env.EventID, Tenant: tenant, Type: env.EventType,
			Time: env.EventTime, Seq: env.EventSeq, Body: body},
		Endpoint: endpoint,
		State:    env.State,
	}
	for name, values := range header {
		if lower := strings.ToLower(name); event.Passed(lower) && len(values) > 0 {
			d.Event.Fields = append(d.Event.Fields, event.Field{Name: lower, Value: values[0]})
		}
	}
	return d, header.Get(BodyHeader) == BodyInEvent, nil
}
