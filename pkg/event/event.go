// Package event promises that a stored message is read as an event the same way
// every time: the same id, tenant, type and headers at each redelivery.
package event

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Event is an event as it was published.
type Event struct {
	ID     string    // ^[A-Za-z0-9_-]{1,64}$; becomes webhook-id
	Tenant string    // first token after the prefix
	Type   string    // the rest of the subject, dots included
	Time   time.Time // when the server stored it
	Seq    uint64    // where the server stored it
	Fields []Field   // headers that are passed on to receivers
	Body   []byte    // as published
}

// Field is a header that is passed on, its name in lower case.
type Field struct{ Name, Value string }

// Message is what New reads: a stored message, taken apart by whoever holds it.
type Message struct {
	Tenant, Type string
	Header       map[string][]string
	Body         []byte
	Seq          uint64
	Time         time.Time
}

// New reads a stored message as an event. It cannot fail: an id that is not
// usable is replaced by a stable hash of it, and without any id one is made
// from where and when the message was stored.
func New(m Message) Event {
	e := Event{Tenant: m.Tenant, Type: m.Type, Time: m.Time, Seq: m.Seq, Body: m.Body}
	var msgID, ceID, ceType string
	for name, values := range m.Header {
		if len(values) == 0 {
			continue
		}
		value := values[0]
		// Producers write header names in any case, and NATS keeps them.
		switch name := strings.ToLower(name); {
		case name == "nats-msg-id":
			msgID = value
		case name == "ce-datacontenttype":
			ceType = value
		case Passed(name):
			if name == "ce-id" {
				ceID = value
			}
			e.Fields = append(e.Fields, Field{name, clean(name, value)})
		}
	}
	e.ID = makeID(msgID, ceID, m)
	if ceType != "" && e.Field("content-type") == "" {
		// In HTTP's binary mode this attribute is the content type.
		e.Fields = append(e.Fields, Field{"content-type", ceType})
	}
	return e
}

// Field returns the value of a header that is passed on, by its name in lower
// case, or "".
func (e Event) Field(name string) string {
	for _, f := range e.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Passed reports whether a header, by its name in lower case, is passed on from
// the event to the receiver. It is a short list of what is known to be
// harmless: all that means something to NATS or to HTTP stays behind.
func Passed(name string) bool {
	switch name {
	case "content-type", "traceparent", "tracestate":
		return true
	case "ce-datacontenttype":
		return false
	}
	return strings.HasPrefix(name, "ce-") && len(name) > len("ce-")
}

func makeID(msgID, ceID string, m Message) string {
	id := msgID
	if id == "" {
		id = ceID
	}
	switch {
	case id == "":
		return "evt_" + strconv.FormatInt(m.Time.UnixNano(), 36) + "_" + strconv.FormatUint(m.Seq, 36)
	case CheckID(id) == nil:
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "evt_" + hex.EncodeToString(sum[:16])
}

const maxID = 64

// CheckID returns an error that says what is allowed unless s is usable as an
// event's id as it is.
func CheckID(s string) error {
	ok := s != "" && len(s) <= maxID
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
	}
	if !ok {
		return fmt.Errorf("event id %q: must be 1 to %d of a-z, A-Z, 0-9, _ and -", s, maxID)
	}
	return nil
}

// clean percent-encodes what an HTTP header cannot carry in the value of a
// CloudEvents attribute, as CloudEvents' HTTP binding has it. What is encoded
// already stays: NATS's binding encodes the same way.
func clean(name, value string) string {
	if !strings.HasPrefix(name, "ce-") {
		return value
	}
	visible := func(c byte) bool { return c >= ' ' && c <= '~' }
	for i := range len(value) {
		if visible(value[i]) {
			continue
		}
		var b strings.Builder
		for i := range len(value) {
			if c := value[i]; visible(c) {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
		return b.String()
	}
	return value
}
