package streams

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// DefaultNamespace is the namespace that the definitions are written for.
const DefaultNamespace = "webhooks"

// The durable pull consumers of the default lane: Fanout reads events, Deliver
// reads deliveries. Those of another lane are called after it, fanout_<lane>.
const (
	Fanout  = "fanout"
	Deliver = "deliver"
)

// DefaultLane is the lane of all that is in no other.
const DefaultLane = "default"

// FanoutOf returns the name of the consumer that reads a lane's events.
func FanoutOf(lane string) string { return ofLane(Fanout, lane) }

// DeliverOf returns the name of the consumer that reads a lane's deliveries.
func DeliverOf(lane string) string { return ofLane(Deliver, lane) }

func ofLane(durable, lane string) string {
	if lane == DefaultLane {
		return durable
	}
	return durable + "_" + lane
}

// FeedOf returns the name of the consumer that feeds back what an endpoint's
// held deliveries are. No name has a tilde, so it is no other's.
func FeedOf(tenant, endpoint string) string { return "feed~" + tenant + "~" + endpoint }

// OrderedOf returns the name of the consumer that reads the events of an endpoint
// that was made ordered before jethook wrote down since when it has its patterns.
func OrderedOf(tenant, endpoint string) string { return "ordered~" + tenant + "~" + endpoint }

const sinceHash = 4 // bytes

// OrderedSince returns the name of the consumer that reads an ordered endpoint's
// events that match the patterns it has since a sequence, 0 where nobody wrote that
// down. Other patterns take another consumer: where one has read on, it has passed
// what only they match.
func OrderedSince(tenant, endpoint string, patterns []string, since uint64) string {
	if since == 0 {
		return OrderedOf(tenant, endpoint)
	}
	hash := sha256.Sum256([]byte(strings.Join(patterns, " ")))
	return OrderedOf(tenant, endpoint) + "~" + strconv.FormatUint(since, 10) + "-" + hex.EncodeToString(hash[:sinceHash])
}

// Names builds and parses the names of one namespace: two namespaces on one
// NATS are two independent systems. The zero value is not usable; NewNames
// makes one.
type Names struct {
	namespace string
	events    string // "<namespace>.events."
}

// NewNames returns the names of a namespace, which must satisfy CheckName. An
// empty namespace means DefaultNamespace.
func NewNames(namespace string) (Names, error) {
	if namespace == "" {
		namespace = DefaultNamespace
	}
	if err := CheckName(namespace); err != nil {
		return Names{}, fmt.Errorf("namespace %q: %w", namespace, err)
	}
	return Names{namespace: namespace, events: namespace + ".events."}, nil
}

// Namespace returns the first token of every subject.
func (n Names) Namespace() string { return n.namespace }

// Events returns the name of the stream of events.
func (n Names) Events() string { return strings.ToUpper(n.namespace) + "_EVENTS" }

// Deliveries returns the name of the stream of deliveries that wait.
func (n Names) Deliveries() string { return strings.ToUpper(n.namespace) + "_DELIVERIES" }

// DeadLetters returns the name of the stream of dead letters.
func (n Names) DeadLetters() string { return strings.ToUpper(n.namespace) + "_DLQ" }

// Attempts returns the name of the stream of attempts.
func (n Names) Attempts() string { return strings.ToUpper(n.namespace) + "_ATTEMPTS" }

// EndpointsBucket returns the name of the bucket of endpoint documents.
func (n Names) EndpointsBucket() string { return n.namespace + "_endpoints" }

// GatesBucket returns the name of the bucket of open gates.
func (n Names) GatesBucket() string { return n.namespace + "_gates" }

// WordsBucket returns the name of the bucket of what endpoints' owners were told.
func (n Names) WordsBucket() string { return n.namespace + "_words" }

// ReplicasBucket returns the name of the bucket of live replicas.
func (n Names) ReplicasBucket() string { return n.namespace + "_replicas" }

// Event returns the subject of an event, or an error that says which token
// cannot be part of a subject.
func (n Names) Event(tenant, eventType string) (string, error) {
	if err := CheckName(tenant); err != nil {
		return "", fmt.Errorf("tenant %q: %w", tenant, err)
	}
	if err := CheckEventType(eventType); err != nil {
		return "", fmt.Errorf("event type %q: %w", eventType, err)
	}
	return n.events + tenant + "." + eventType, nil
}

// ParseEvent takes the subject of an event apart. The tenant must satisfy
// CheckName; the type is whatever NATS let through.
func (n Names) ParseEvent(subject string) (tenant, eventType string, err error) {
	rest, ok := strings.CutPrefix(subject, n.events)
	if !ok {
		return "", "", fmt.Errorf("subject %q does not begin with %q", subject, n.events)
	}
	tenant, eventType, ok = strings.Cut(rest, ".")
	if !ok || eventType == "" {
		return "", "", fmt.Errorf("subject %q has no event type: publish to %s<tenant>.<type>", subject, n.events)
	}
	if err := CheckName(tenant); err != nil {
		return "", "", fmt.Errorf("subject %q: tenant: %w", subject, err)
	}
	return tenant, eventType, nil
}

// Delivery returns the subject under which a delivery awaits its next attempt.
func (n Names) Delivery(lane, tenant, endpoint string) string {
	return n.namespace + ".deliveries." + lane + "." + tenant + "." + endpoint
}

// Scheduled returns the subject of a delivery's schedule: one for each
// delivery, so that publishing again replaces it. The origin tells apart two
// deliveries of one event to one endpoint (a replay, say).
func (n Names) Scheduled(tenant, endpoint, eventID, origin string) string {
	return n.namespace + ".scheduled." + tenant + "." + endpoint + "." + eventID + "." + origin
}

// ParseScheduled takes the subject of a delivery's schedule apart.
func (n Names) ParseScheduled(subject string) (tenant, endpoint string, err error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 6 || tokens[0] != n.namespace || tokens[1] != "scheduled" {
		return "", "", fmt.Errorf("subject %q is not %s.scheduled.<tenant>.<endpoint>.<event id>.<origin>", subject, n.namespace)
	}
	return tokens[2], tokens[3], checkNames(subject, tokens[2:4])
}

// ParseDelivery takes the subject of a delivery apart.
func (n Names) ParseDelivery(subject string) (lane, tenant, endpoint string, err error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 5 || tokens[0] != n.namespace || tokens[1] != "deliveries" {
		return "", "", "", fmt.Errorf("subject %q is not %s.deliveries.<lane>.<tenant>.<endpoint>", subject, n.namespace)
	}
	return tokens[2], tokens[3], tokens[4], checkNames(subject, tokens[2:])
}

// Kind says among what a held delivery lies.
type Kind string

// The kinds of held deliveries. New ones lie in the order in which their time
// runs out, because it began when they were held. Late ones had been attempted
// before, so that their time runs out sooner than that of many before them. The
// probe is the one that the endpoint is tried with while its gate is open, by turns
// with others, which are late ones from then on.
const (
	HeldNew   Kind = "new"
	HeldLate  Kind = "late"
	HeldProbe Kind = "probe"
)

// Held returns the subject of an endpoint's held deliveries of a kind. "*"
// stands for any tenant, endpoint or kind in a filter.
func (n Names) Held(tenant, endpoint string, kind Kind) string {
	return n.namespace + ".held." + tenant + "." + endpoint + "." + string(kind)
}

// AllHeld returns the filter of all that lies among the held deliveries, marks and
// what was set aside included.
func (n Names) AllHeld() string { return n.namespace + ".held.>" }

// ParseHeld takes the subject of a held delivery apart.
func (n Names) ParseHeld(subject string) (tenant, endpoint string, kind Kind, err error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 5 || tokens[0] != n.namespace || tokens[1] != "held" {
		return "", "", "", fmt.Errorf("subject %q is not %s.held.<tenant>.<endpoint>.<kind>", subject, n.namespace)
	}
	return tokens[2], tokens[3], Kind(tokens[4]), checkNames(subject, tokens[2:])
}

// Attempt returns the subject of the records of an endpoint's attempts. "*"
// stands for any tenant or endpoint in a filter.
func (n Names) Attempt(tenant, endpoint string) string {
	return n.namespace + ".attempts." + tenant + "." + endpoint
}

// Ledger returns the subject of a part of the ledger. "*" stands for all parts in
// a filter.
func (n Names) Ledger(part string) string { return n.namespace + ".ledger." + part }

// OrderedState returns the subject of what an ordered endpoint remembers of the
// event that it is at. Its second token cannot be the name of a tenant.
func (n Names) OrderedState(tenant, endpoint string) string {
	return n.namespace + ".held._ordered." + tenant + "." + endpoint + ".state"
}

// DeadLetter returns the subject of a dead letter. "*" stands for any tenant
// or endpoint in a filter.
func (n Names) DeadLetter(tenant, endpoint string) string {
	return n.namespace + ".dlq." + tenant + "." + endpoint
}

// ParseDeadLetter takes the subject of a dead letter apart.
func (n Names) ParseDeadLetter(subject string) (tenant, endpoint string, err error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 4 || tokens[0] != n.namespace || tokens[1] != "dlq" {
		return "", "", fmt.Errorf("subject %q is not %s.dlq.<tenant>.<endpoint>", subject, n.namespace)
	}
	return tokens[2], tokens[3], checkNames(subject, tokens[2:])
}

// ReplayMark returns the subject of the mark that a replay leaves beside the
// deliveries that it stores, until their dead letters are removed. Its second
// token cannot be the name of a tenant.
func (n Names) ReplayMark(id string) string { return n.namespace + ".held._replay." + id }

// Unreadable returns the subject under which what should be a delivery and is
// none is set aside.
func (n Names) Unreadable() string { return n.namespace + ".held._unreadable" }

func checkNames(subject string, tokens []string) error {
	for _, t := range tokens {
		if err := CheckName(t); err != nil {
			return fmt.Errorf("subject %q: token %q: %w", subject, t, err)
		}
	}
	return nil
}

const maxName = 63

var errName = errors.New("must be 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit")

// CheckName returns an error that says what is allowed unless s can be the name
// of a tenant, an endpoint, a lane or a namespace: ^[a-z0-9][a-z0-9_-]{0,62}$.
func CheckName(s string) error {
	if s == "" || len(s) > maxName || s[0] == '_' || s[0] == '-' {
		return errName
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return errName
		}
	}
	return nil
}

// CheckScope returns an error that says what is allowed unless a filter may be for a
// tenant, or for one of its endpoints. Empty is any.
func CheckScope(tenant, endpoint string) error {
	if tenant == "" && endpoint != "" {
		return fmt.Errorf("endpoint %q: needs the tenant too", endpoint)
	}
	for what, name := range map[string]string{"tenant": tenant, "endpoint": endpoint} {
		if name == "" {
			continue
		}
		if err := CheckName(name); err != nil {
			return fmt.Errorf("%s %q: %w", what, name, err)
		}
	}
	return nil
}

// CheckSpan returns an error unless a time is before another, where both are set.
func CheckSpan(since, until time.Time) error {
	if !since.IsZero() && !until.IsZero() && !since.Before(until) {
		return fmt.Errorf("since %s: must be before until %s", since.Format(time.RFC3339), until.Format(time.RFC3339))
	}
	return nil
}

const maxEventType = 200

var errEventType = fmt.Errorf("must be 1 to %d characters: tokens of a-z, A-Z, 0-9, _ and -, separated by full stops", maxEventType)

// CheckEventType returns an error that says what is allowed unless s can be an
// event's type.
func CheckEventType(s string) error {
	if len(s) > maxEventType {
		return errEventType
	}
	for token := range strings.SplitSeq(s, ".") {
		if !CheckToken(token) {
			return errEventType
		}
	}
	return nil
}

// CheckToken reports whether s can be one token of a subject and part of a
// header everywhere: ^[A-Za-z0-9_-]+$.
func CheckToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}
