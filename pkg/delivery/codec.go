package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	Problem   string    `json:"event_problem,omitempty"` // headers that are over a limit are not here to tell
	State
}

// maxHeader is how much of a message's header a delivery may take. NATS stores
// up to 64 KiB; the rest is for what is added on the way: ids, a schedule, a
// reason.
const maxHeader = 48 << 10

// maxTrace is how long each part of a Trace may be. What is stored must fit again.
const maxTrace = 64

// Encode returns the delivery as a message for subject. Where header and body
// together would exceed limit (the server's max_payload), the body stays out
// and Decode says so. Where the header alone would exceed what NATS stores,
// which takes a hostile receiver or producer, headers of the event that no
// receiver would take either are left out, the longest first, and then the
// oldest attempts: a delivery that cannot be stored would be stuck.
func (d *Delivery) Encode(subject string, limit int64) (*nats.Msg, error) {
	fields, room := fitting(d.Event.Fields)
	state, err := d.encodeState(room)
	if err != nil {
		return nil, fmt.Errorf("encode the state of delivery %s of event %s: %w", d.Name(), d.Event.ID, err)
	}
	m := &nats.Msg{Subject: subject, Header: nats.Header{Header: {state}}, Data: d.Event.Body}
	for _, f := range fields {
		m.Header[f.Name] = []string{f.Value}
	}
	const reserve = 1024 // for the headers that are added on the way
	if d.BodyInEvent || limit > 0 && int64(m.Size()+reserve) > limit {
		m.Header.Set(BodyHeader, BodyInEvent)
		m.Data = nil
	}
	return m, nil
}

// fitting returns the headers that fit into half of the room, and the room that
// they leave.
func fitting(fields []event.Field) (fit []event.Field, room int) {
	size := func(f event.Field) int { return len(f.Name) + len(": \r\n") + len(f.Value) }
	total := 0
	for _, f := range fields {
		total += size(f)
	}
	for total > maxHeader/2 {
		longest := 0
		for i := range fields {
			if size(fields[i]) > size(fields[longest]) {
				longest = i
			}
		}
		total -= size(fields[longest])
		fields = slices.Concat(fields[:longest], fields[longest+1:])
	}
	return fields, maxHeader - total
}

// encodeState returns the value of Header, with as much of the history as there
// is room for.
func (d *Delivery) encodeState(room int) (string, error) {
	env := envelope{d.Event.ID, d.Event.Type, d.Event.Time.UTC(), d.Event.Seq, d.Event.Problem, d.State}
	for {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false) // errors often quote HTML, and six bytes for a bracket add up
		if err := e.Encode(env); err != nil {
			return "", err
		}
		if b.Len() <= room || len(env.History) == 0 {
			return strings.TrimSuffix(b.String(), "\n"), nil
		}
		env.History = env.History[(len(env.History)+3)/4:]
	}
}

// ErrNoState is what Decode returns for a message that is not a delivery.
var ErrNoState = errors.New("no " + Header + " header: not a delivery")

// Decode reads a delivery from a stored message for a tenant's endpoint.
// BodyInEvent of what it returns says that the body must be read from the event.
func Decode(tenant, endpoint string, header nats.Header, body []byte) (Delivery, error) {
	text := header.Get(Header)
	if text == "" {
		return Delivery{}, ErrNoState
	}
	var env envelope
	if err := json.Unmarshal([]byte(text), &env); err != nil {
		return Delivery{}, fmt.Errorf("header %s: %w", Header, err)
	}
	if err := event.CheckID(env.EventID); err != nil {
		return Delivery{}, fmt.Errorf("header %s: %w", Header, err)
	}
	if env.Attempts < 0 || !streams.CheckToken(env.Origin) {
		return Delivery{}, fmt.Errorf("header %s: attempts %d, origin %q: not what jethook writes", Header, env.Attempts, env.Origin)
	}
	env.EventTime = env.EventTime.UTC()
	if year := env.EventTime.Year(); year < 0 || year > 9999 {
		return Delivery{}, fmt.Errorf("header %s: event_time in the year %d cannot be written again", Header, year)
	}
	if len(env.Trace.Delivery) > maxTrace || len(env.Trace.Attempt) > maxTrace {
		env.Trace = Trace{} // nor what jethook writes, and no reason to give up a delivery
	}
	return Delivery{
		Event: event.Event{ID: env.EventID, Tenant: tenant, Type: env.EventType,
			Time: env.EventTime, Seq: env.EventSeq, Body: body, Fields: event.Fields(header), Problem: env.Problem},
		Endpoint: endpoint,
		State:    env.State,

		BodyInEvent: header.Get(BodyHeader) == BodyInEvent,
	}, nil
}
