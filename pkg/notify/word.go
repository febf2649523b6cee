package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/event"
	"jethook/streams"
)

// Word is something that an endpoint's owner is told: the body of one of
// jethook's own events. It holds no payload, no secret and nothing that a
// receiver answered. Fields are added, never renamed or removed.
type Word struct {
	// Type is the event's, such as jethook.endpoint.failing.
	Type string `json:"type"`
	// Endpoint is TENANT/ENDPOINT.
	Endpoint string `json:"endpoint"`
	// URL is the endpoint's, without its query.
	URL string `json:"url"`
	// At is when what is told of was found.
	At time.Time `json:"at"`
	// Why says in words why it failed or was disabled.
	Why string `json:"why,omitempty"`
	// Since is when the outage, or what the digest sums up, began.
	Since time.Time `json:"since,omitzero"`
	// Until is when the outage ended, or until when old secrets sign.
	Until time.Time `json:"until,omitzero"`
	// Probes counts the probes that failed.
	Probes int `json:"probes,omitempty"`
	// LastStatus and LastError tell of the last attempt: its status, and in one
	// word why it brought no answer or of what class that was, such as 5xx.
	LastStatus int    `json:"last_status,omitempty"`
	LastError  string `json:"last_error,omitempty"`
	// Flapping is there when the endpoint changes so often that only this digest
	// is sent: Type says how it is now.
	Flapping *Flapping `json:"flapping,omitempty"`
	// EventID to Attempts are those of the latest dead letter.
	EventID   string          `json:"event_id,omitempty"`
	EventType string          `json:"event_type,omitempty"`
	Reason    delivery.Reason `json:"reason,omitempty"`
	Attempts  int             `json:"attempts,omitempty"`
	// Count is how many dead letters there were since the last such word, and
	// Reasons how many for each reason.
	Count   int                     `json:"count,omitempty"`
	Reasons map[delivery.Reason]int `json:"reasons,omitempty"`
	// Events are the latest of them, the last one last, at most MaxDeaths.
	Events []Death `json:"events,omitempty"`

	// identity is what happened, so that whoever tells of it again says the same.
	identity string
}

// Flapping tells how often an endpoint went down or came back.
type Flapping struct {
	// Changes is how often, since Since.
	Changes int       `json:"changes"`
	Since   time.Time `json:"since"`
}

// Death is a delivery that became a dead letter.
type Death struct {
	EventID    string          `json:"event_id"`
	EventType  string          `json:"event_type"`
	Reason     delivery.Reason `json:"reason"`
	Attempts   int             `json:"attempts"`
	LastStatus int             `json:"last_status,omitempty"`
	At         time.Time       `json:"at"`
}

// MaxDeaths is how many dead letters a word names.
const MaxDeaths = 10

// maxWord bounds the body of a word, in bytes.
const maxWord = 64 << 10

// readWord reads an event in jethook's name about an endpoint, and reports whether it
// is one that jethook may have written. Who published it may say anything of any
// endpoint but that it is another's, and no more of it than a word has room for: it is
// kept until contacts are told.
func readWord(e event.Event, endpoint string) (w Word, ok bool) {
	if len(e.Body) > maxWord || json.Unmarshal(e.Body, &w) != nil {
		return Word{}, false
	}
	return w, w.Type == e.Type && w.Endpoint == endpoint && happenings[w.Type] != "" &&
		len(w.Events) <= MaxDeaths && len(w.Reasons) <= len(delivery.Reasons())
}

// ID returns the event's id, which NATS and receivers drop a copy by. It is the
// same whichever replica says the word.
func (w Word) ID() string {
	sum := sha256.Sum256([]byte(w.Type + " " + w.Endpoint + " " + w.identity))
	return "jethook_" + hex.EncodeToString(sum[:16])
}

// split returns the tenant and the endpoint's id.
func (w Word) split() (tenant, id string) {
	tenant, id, _ = strings.Cut(w.Endpoint, "/")
	return tenant, id
}

// at names a moment in an identity.
func at(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Rotated is the word about an endpoint whose signing secret was rotated. The old
// ones sign too until a moment.
func Rotated(endpoint, url string, now, until time.Time) Word {
	return Word{Type: streams.SecretRotated, Endpoint: endpoint, URL: url, At: now.UTC(), Until: until.UTC(), identity: at(now)}
}
