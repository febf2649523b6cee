package deadletter

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/streams"
)

// Header is the header of a dead letter that says why it is one, as JSON. The
// delivery's own header stands beside it.
const Header = "Jethook-Dead"

// death is the JSON in Header.
type death struct {
	Reason     delivery.Reason `json:"reason"`
	URL        string          `json:"url"`
	At         time.Time       `json:"at"`
	LastStatus int             `json:"last_status"`
	LastError  string          `json:"last_error"`
}

// decodeDeath reads Header from a stored message.
func decodeDeath(header nats.Header) (death, error) {
	text := header.Get(Header)
	if text == "" {
		return death{}, errors.New("no " + Header + " header: not a dead letter")
	}
	var d death
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return death{}, fmt.Errorf("header %s: %w", Header, err)
	}
	if d.Reason == "" {
		return death{}, fmt.Errorf("header %s: no reason", Header)
	}
	return d, nil
}

// Writer makes dead letters. It does not publish them: whoever settles the
// delivery does, before the ack.
type Writer struct {
	names      streams.Names
	maxPayload func() int64
}

// NewWriter returns a writer for a namespace. maxPayload is asked for the
// server's limit at each letter, because a reconnect may change it.
func NewWriter(names streams.Names, maxPayload func() int64) *Writer {
	return &Writer{names, maxPayload}
}

// Letter returns the message that keeps a delivery that was given up at a
// moment for a reason. url is the endpoint's, as it may be shown.
func (w *Writer) Letter(d *delivery.Delivery, url string, reason delivery.Reason, at time.Time) (*nats.Msg, error) {
	why := death{Reason: reason, URL: url, At: at.UTC()}
	if n := len(d.State.History); n > 0 {
		last := d.State.History[n-1]
		why.LastStatus, why.LastError = last.Status, cut(last.Error)
	}
	text, err := json.Marshal(why)
	if err != nil {
		return nil, fmt.Errorf("encode why delivery %s of event %s is given up: %w", d.Name(), d.Event.ID, err)
	}
	// The delivery leaves room for this header too, or leaves out its body.
	limit := w.maxPayload()
	if limit > 0 {
		limit = max(1, limit-int64(len(text)))
	}
	m, err := d.Encode(w.names.DeadLetter(d.Event.Tenant, d.Endpoint), limit)
	if err != nil {
		return nil, err
	}
	m.Header.Set(Header, string(text))
	m.Header.Set(jetstream.MsgIDHeader, d.DeadMsgID())
	return m, nil
}

// maxLastError bounds the error that is repeated beside the history. The
// delivery's header leaves 16 KiB for ours, and JSON may spell a byte with six.
const maxLastError = 2 << 10

func cut(text string) string {
	if len(text) <= maxLastError {
		return text
	}
	return strings.ToValidUTF8(text[:maxLastError], "")
}
