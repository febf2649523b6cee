package attempt

import (
	"encoding/json"
	"strconv"
	"time"

	"jethook/pkg/delivery"
)

// appendIdentity begins a line with what names a delivery.
func appendIdentity(b []byte, d *delivery.Delivery) []byte {
	b = append(b, `{"event_id":`...)
	b = appendString(b, d.Event.ID)
	b = append(b, `,"event_seq":`...)
	b = strconv.AppendUint(b, d.Event.Seq, 10)
	b = append(b, `,"tenant":`...)
	b = appendString(b, d.Event.Tenant)
	b = append(b, `,"endpoint":`...)
	return appendString(b, d.Endpoint)
}

// appendAttempt writes what the record and the ledger both say of an attempt.
func appendAttempt(b []byte, m *Made) []byte {
	r := &m.Result
	b = append(b, `,"attempt":`...)
	b = strconv.AppendInt(b, int64(m.Delivery.Number()), 10)
	b = appendTime(b, `,"at":`, r.At)
	b = append(b, `,"duration_ms":`...)
	b = appendFloat(b, r.Duration)
	if r.Status != 0 {
		b = append(b, `,"status":`...)
		b = strconv.AppendInt(b, int64(r.Status), 10)
	}
	if r.Fault != "" {
		b = append(b, `,"fault":`...)
		b = appendString(b, string(r.Fault))
	}
	b = append(b, `,"outcome":`...)
	b = appendString(b, string(m.Verdict.Outcome))
	if m.Verdict.Reason != "" {
		b = append(b, `,"reason":`...)
		b = appendString(b, string(m.Verdict.Reason))
	}
	if !m.NextAt.IsZero() {
		b = appendTime(b, `,"next_at":`, m.NextAt)
	}
	if m.Delivery.State.Replay {
		b = append(b, `,"replay":true`...)
	}
	if m.Probe {
		b = append(b, `,"probe":true`...)
	}
	return b
}

// appendString writes a JSON string. Nearly all that is written here is plain.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil { // of a string it cannot fail
				return append(b, `""`...)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendTime(b []byte, key string, t time.Time) []byte {
	b = append(b, key...)
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendMS writes a part that there was.
func appendMS(b []byte, key string, d time.Duration) []byte {
	if d <= 0 {
		return b
	}
	return appendFloat(append(b, key...), d)
}

// appendFloat writes milliseconds, to the microsecond.
func appendFloat(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, float64(d.Round(time.Microsecond))/float64(time.Millisecond), 'f', -1, 64)
}
