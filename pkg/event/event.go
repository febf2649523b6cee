// Package event promises that a stored message is read as an event the same way
// every time: the same id, tenant, type and headers at each redelivery.
package event

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Event is an event as it was published.
type Event struct {
	ID     string    // ^[A-Za-z0-9_-]{1,64}$; becomes webhook-id
	Tenant string    // first token after the prefix
	Type   string    // the rest of the subject, dots included
	Time   time.Time // when the server stored it
	Seq    uint64    // where the server stored it
	Fields []Field   // headers that are passed on to receivers, by name, each once
	Body   []byte    // as published
	// Trace is the traceparent of the span in which the event is being read here.
	// It is not stored. Empty while traces are off.
	Trace string
	// Problem says why no receiver can have the event, in words for who
	// published it: its headers break a limit. Empty for one that can be sent.
	Problem string
}

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
// from where and when the message was stored. Headers over a limit are left out
// and are the event's Problem.
func New(m Message) Event {
	e := Event{Tenant: m.Tenant, Type: m.Type, Time: m.Time, Seq: m.Seq, Body: m.Body}
	headers, left := fold(m.Header)
	e.ID = makeID(value(headers, "nats-msg-id"), value(headers, "ce-id"), m)
	// In HTTP's binary mode this attribute is the content type.
	contentType := value(headers, "ce-datacontenttype")
	e.Fields = passed(headers)
	if at, found := find(e.Fields, "content-type"); !found && contentType != "" {
		e.Fields = slices.Insert(e.Fields, at, Field{"content-type", contentType})
	}
	e.Fields, e.Problem = within(e.Fields, left)
	return e
}

func makeID(msgID, ceID string, m Message) string {
	id := msgID
	if id == "" {
		id = ceID
	}
	if id == "" {
		return "evt_" + strconv.FormatInt(m.Time.UnixNano(), 36) + "_" + strconv.FormatUint(m.Seq, 36)
	}
	return IDOf(id)
}

// IDOf returns the id of the event that was published with an id: that id itself
// where it is usable, and otherwise the stable hash that takes its place.
func IDOf(published string) string {
	if CheckID(published) == nil {
		return published
	}
	sum := sha256.Sum256([]byte(published))
	return "evt_" + hex.EncodeToString(sum[:16])
}

const maxID = 64

// CheckID returns an error that says what is allowed unless s is usable as an
// event's id as it is.
func CheckID(s string) error {
	if s == "" || len(s) > maxID || !isPlain(s) {
		return fmt.Errorf("event id %q: must be 1 to %d of a-z, A-Z, 0-9, _ and -", s, maxID)
	}
	return nil
}

// isPlain reports whether s is letters, digits, _ and - of ASCII alone.
func isPlain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
