package attempt

import (
	"encoding/json"
	"fmt"
	"time"

	"jethook/pkg/delivery"
)

// Record says all about one attempt. Times in milliseconds are those of parts of
// the attempt, absent where there was no such part.
type Record struct {
	EventID     string            `json:"event_id"`
	EventType   string            `json:"event_type"`
	EventTime   time.Time         `json:"event_time"`
	EventSeq    uint64            `json:"event_seq"`
	Tenant      string            `json:"tenant"`
	Endpoint    string            `json:"endpoint"`
	Attempt     int               `json:"attempt"` // counts from 1 in each round; a probe that failed does not count
	At          time.Time         `json:"at"`
	WaitMS      float64           `json:"wait_ms,omitempty"`       // from when it was due
	DNSMS       float64           `json:"dns_ms,omitempty"`        // name looked up
	ConnectMS   float64           `json:"connect_ms,omitempty"`    // connected
	TLSMS       float64           `json:"tls_ms,omitempty"`        // secured
	FirstByteMS float64           `json:"first_byte_ms,omitempty"` // from the request being written to the answer's first byte
	DurationMS  float64           `json:"duration_ms"`             // as a whole
	Status      int               `json:"status,omitempty"`
	Fault       delivery.Fault    `json:"fault,omitempty"` // why no complete response came
	Error       string            `json:"error,omitempty"` // in words for the endpoint's owner
	Outcome     delivery.Outcome  `json:"outcome"`
	Reason      delivery.Reason   `json:"reason,omitempty"` // of dead
	NextAt      time.Time         `json:"next_at,omitzero"` // when the next attempt is due
	Replay      bool              `json:"replay,omitempty"`
	Probe       bool              `json:"probe,omitempty"`
	Replica     string            `json:"replica,omitempty"`
	Request     map[string]string `json:"request_headers,omitempty"`  // of an attempt that did not deliver; values that may be credentials are ***
	Response    map[string]string `json:"response_headers,omitempty"` // of an allow list
	Body        string            `json:"response_body,omitempty"`    // its beginning, on one line
}

// Name returns TENANT/ENDPOINT.
func (r *Record) Name() string { return r.Tenant + "/" + r.Endpoint }

// Failed reports whether the attempt did not deliver.
func (r *Record) Failed() bool { return r.Outcome != delivery.Delivered }

// Made is an attempt that was made, as those see it who made it.
type Made struct {
	Delivery *delivery.Delivery // as it was attempted
	Result   delivery.Result
	Verdict  delivery.Verdict
	NextAt   time.Time // when the next attempt is due; zero where there is none, or it is not known
	Probe    bool
}

// wait returns for how long the attempt was due.
func (m *Made) wait() time.Duration {
	due := m.Delivery.State.Due
	if due.IsZero() && !m.Delivery.State.Begun() {
		due = m.Delivery.State.Since
	}
	if due.IsZero() || due.After(m.Result.At) {
		return 0
	}
	return m.Result.At.Sub(due)
}

// appendRecord writes the record of an attempt as a line. By hand, because it runs
// for every attempt: it takes a fifth of what encoding/json does.
func appendRecord(b []byte, m *Made, replica string) []byte {
	d, r := m.Delivery, &m.Result
	b = appendIdentity(b, d)
	b = append(b, `,"event_type":`...)
	b = appendString(b, d.Event.Type)
	b = appendTime(b, `,"event_time":`, d.Event.Time)
	b = appendAttempt(b, m)
	b = appendMS(b, `,"wait_ms":`, m.wait())
	b = appendMS(b, `,"dns_ms":`, r.Parts.DNS)
	b = appendMS(b, `,"connect_ms":`, r.Parts.Connect)
	b = appendMS(b, `,"tls_ms":`, r.Parts.TLS)
	b = appendMS(b, `,"first_byte_ms":`, r.Parts.FirstByte)
	if r.Error != "" {
		b = append(b, `,"error":`...)
		b = appendString(b, r.Error)
	}
	if replica != "" {
		b = append(b, `,"replica":`...)
		b = appendString(b, replica)
	}
	b = appendHeaders(b, `,"request_headers":{`, r.Request)
	b = appendHeaders(b, `,"response_headers":{`, r.Response)
	if r.Body != "" {
		b = append(b, `,"response_body":`...)
		b = appendString(b, r.Body)
	}
	return append(b, '}', '\n')
}

// decodeRecord reads a line.
func decodeRecord(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("record of an attempt: %w", err)
	}
	return r, nil
}

// appendHeaders writes an object of headers, and nothing if there are none.
func appendHeaders(b []byte, key string, headers map[string]string) []byte {
	if len(headers) == 0 {
		return b
	}
	b = append(b, key...)
	first := true
	for name, value := range headers {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendString(b, name)
		b = append(b, ':')
		b = appendString(b, value)
	}
	return append(b, '}')
}
