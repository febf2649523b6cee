package attempt

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
)

// parts is into how many parts the ledger is divided by the events' ids: to find
// an event is to read one of them. More would make batches smaller.
const parts = 32

// Part returns the part of the ledger in which an event's lines are.
func Part(eventID string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(eventID)) // a hash cannot fail
	return int(h.Sum32() % parts)
}

// Entry is a line of the ledger. It says for whom an event was (no Endpoint), what
// came of an attempt (Outcome), that a delivery became a dead letter (Dead), or that
// an operator discarded all that waits for an endpoint, or its dead letters (Discarded).
type Entry struct {
	EventID  string `json:"event_id,omitempty"`
	EventSeq uint64 `json:"event_seq,omitempty"`
	Tenant   string `json:"tenant"`

	// Matched are the ids of the endpoints that the event is for, none where none
	// matched. Where there are very many, several entries name some each.
	Matched []string `json:"matched,omitempty"`
	Ordered []string `json:"ordered,omitempty"` // those that get it in order
	More    bool     `json:"more,omitempty"`    // beside those of the line before

	Endpoint   string           `json:"endpoint,omitempty"` // of all that follows
	Attempt    int              `json:"attempt,omitempty"`
	At         time.Time        `json:"at,omitzero"`
	DurationMS float64          `json:"duration_ms,omitempty"`
	Status     int              `json:"status,omitempty"`
	Fault      delivery.Fault   `json:"fault,omitempty"`
	Outcome    delivery.Outcome `json:"outcome,omitempty"`
	Reason     delivery.Reason  `json:"reason,omitempty"`
	NextAt     time.Time        `json:"next_at,omitzero"`
	Replay     bool             `json:"replay,omitempty"`
	Probe      bool             `json:"probe,omitempty"`

	Dead      delivery.Reason `json:"dead,omitempty"` // why it is a dead letter since At
	Discarded bool            `json:"discarded,omitempty"`
	Letters   bool            `json:"letters,omitempty"` // dead letters were discarded, and not what waits

	Stored time.Time `json:"-"` // when the line was stored
}

// appendMatched writes for whom an event is.
func appendMatched(b []byte, e *event.Event, matched, ordered []string, more bool) []byte {
	b = append(b, `{"event_id":`...)
	b = appendString(b, e.ID)
	b = append(b, `,"event_seq":`...)
	b = strconv.AppendUint(b, e.Seq, 10)
	b = append(b, `,"tenant":`...)
	b = appendString(b, e.Tenant)
	b = appendNames(b, `,"matched":[`, matched)
	b = appendNames(b, `,"ordered":[`, ordered)
	if more {
		b = append(b, `,"more":true`...)
	}
	return append(b, '}', '\n')
}

func appendNames(b []byte, key string, names []string) []byte {
	if len(names) == 0 {
		return b
	}
	b = append(b, key...)
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, name)
	}
	return append(b, ']')
}

// appendOutcome writes what came of an attempt.
func appendOutcome(b []byte, m *Made) []byte {
	return append(appendAttempt(appendIdentity(b, m.Delivery), m), '}', '\n')
}

// appendDead writes that a delivery became a dead letter.
func appendDead(b []byte, d *delivery.Delivery, reason delivery.Reason, at time.Time) []byte {
	b = appendTime(appendIdentity(b, d), `,"at":`, at)
	b = append(b, `,"dead":`...)
	return append(appendString(b, string(reason)), '}', '\n')
}

// decodeEntry reads a line.
func decodeEntry(line []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return Entry{}, fmt.Errorf("line of the ledger: %w", err)
	}
	return e, nil
}

// chunks divides names so that no line, nor a message that discards as many, is larger
// than a server takes of which its operator allows it a tenth of a megabyte.
func chunks(names []string) [][]string {
	const most = 400 // of 64 bytes at the most
	if len(names) == 0 {
		return [][]string{nil}
	}
	return slices.Collect(slices.Chunk(names, most))
}
