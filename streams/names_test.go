package streams

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

func TestCheckName(t *testing.T) {
	contract := regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)
	names := []string{"", "a", "0", "acme", "a-b_c", "-a", "_a", "A", "a.b", "a b", "a*", ">", "é", "a\n",
		strings.Repeat("a", 63), strings.Repeat("a", 64), "a" + strings.Repeat("-", 62)}
	for c := range 256 {
		names = append(names, string([]byte{byte(c)}), string([]byte{'x', byte(c)}))
	}
	for _, name := range names {
		if got, want := CheckName(name) == nil, contract.MatchString(name) && !strings.Contains(name, "\n"); got != want {
			t.Errorf("CheckName(%q) accepts: %v, want %v", name, got, want)
		}
	}
	if err := CheckName("Acme"); err == nil || !strings.Contains(err.Error(), "a-z, 0-9, _ and -") {
		t.Errorf("the error %v does not say what is allowed", err)
	}
}

func TestCheckToken(t *testing.T) {
	for c := range 256 {
		for _, s := range []string{string([]byte{byte(c)}), string([]byte{'x', byte(c), 'y'})} {
			alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
			if got, want := CheckToken(s), alnum || c == '_' || c == '-'; got != want {
				t.Errorf("CheckToken(%q) = %v, want %v", s, got, want)
			}
		}
	}
	if CheckToken("") {
		t.Error("nothing is no token")
	}
}

func TestCheckEventType(t *testing.T) {
	for eventType, want := range map[string]bool{
		"order": true, "order.created": true, "a.b.c.d": true, "Order_1-x": true, strings.Repeat("a", 200): true,
		"": false, ".": false, ".a": false, "a.": false, "a..b": false, "a b": false, "*": false, "a.>": false, "é": false,
		strings.Repeat("a", 201): false, "a\r\nb": false,
	} {
		err := CheckEventType(eventType)
		if (err == nil) != want {
			t.Errorf("CheckEventType(%q) = %v, want accepted: %v", eventType, err, want)
		}
		if err == nil && !server.IsValidLiteralSubject(eventType) {
			t.Errorf("CheckEventType accepts %q, NATS does not", eventType)
		}
	}
}

func TestNewNames(t *testing.T) {
	if n := testNames(t, ""); n.Namespace() != "webhooks" || n.Events() != "WEBHOOKS_EVENTS" {
		t.Errorf("the default is %+v", n)
	}
	for _, bad := range []string{"Web", "a.b", "*", "a b", "_x", strings.Repeat("a", 64)} {
		if _, err := NewNames(bad); err == nil || !strings.Contains(err.Error(), "namespace") {
			t.Errorf("NewNames(%q): %v, want an error that names the namespace", bad, err)
		}
	}
}

func TestEventRefuses(t *testing.T) {
	n := testNames(t, "")
	for _, c := range []struct{ tenant, eventType, want string }{
		{"Acme", "order", `tenant "Acme"`}, {"", "order", `tenant ""`}, {"a.b", "order", "tenant"},
		{"acme", "", `event type ""`}, {"acme", "order.*", "event type"}, {"acme", "a b", "event type"},
	} {
		if s, err := n.Event(c.tenant, c.eventType); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Event(%q, %q) = %q, %v, want an error with %q", c.tenant, c.eventType, s, err, c.want)
		}
	}
}

func TestParsersRefuse(t *testing.T) {
	n := testNames(t, "")
	for _, s := range []string{
		"", ".", "webhooks", "webhooks.events", "webhooks.events.", "webhooks.events.acme", "webhooks.events.acme.",
		"webhooks.events..order", "webhooks.events.Acme.order", "other.events.acme.order", "webhooks.dlq.acme",
		"webhooks.dlq.acme.crm.x", "webhooks.dlq.acme.", "webhooks.dlq.*.crm", "webhooks.deliveries.acme.crm",
		"webhooks.deliveries.default.acme.crm.x", "webhooks.deliveries.default.acme.CRM", "webhooks.held._replay.x",
		n.Unreadable(), n.ReplayMark("x"), n.Scheduled("acme", "crm", "e1", "e7"),
	} {
		if _, _, err := n.ParseEvent(s); err == nil {
			t.Errorf("ParseEvent(%q) accepts it", s)
		}
		if _, _, _, err := n.ParseDelivery(s); err == nil {
			t.Errorf("ParseDelivery(%q) accepts it", s)
		}
		if _, _, err := n.ParseDeadLetter(s); err == nil {
			t.Errorf("ParseDeadLetter(%q) accepts it", s)
		}
	}
}

// Whatever is built from names is a subject to NATS, lies in its stream, and is
// parsed to the same names.
func TestSubjectsRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a repeatable test
	for range 300 {
		n := testNames(t, randomName(random))
		lane, tenant, endpoint := randomName(random), randomName(random), randomName(random)
		eventType := randomToken(random) + "." + randomToken(random)

		event, err := n.Event(tenant, eventType)
		if err != nil {
			t.Fatal(err)
		}
		if gotTenant, gotType, err := n.ParseEvent(event); err != nil || gotTenant != tenant || gotType != eventType {
			t.Fatalf("ParseEvent(%q) = %q, %q, %v", event, gotTenant, gotType, err)
		}
		waiting := n.Delivery(lane, tenant, endpoint)
		if l, te, e, err := n.ParseDelivery(waiting); err != nil || l != lane || te != tenant || e != endpoint {
			t.Fatalf("ParseDelivery(%q) = %q, %q, %q, %v", waiting, l, te, e, err)
		}
		letter := n.DeadLetter(tenant, endpoint)
		if te, e, err := n.ParseDeadLetter(letter); err != nil || te != tenant || e != endpoint {
			t.Fatalf("ParseDeadLetter(%q) = %q, %q, %v", letter, te, e, err)
		}
		scheduled := n.Scheduled(tenant, endpoint, randomToken(random), randomToken(random))
		for stream, subjects := range map[int][]string{
			0: {event}, 1: {waiting, scheduled, n.ReplayMark("x"), n.Unreadable()}, 2: {letter},
		} {
			for _, s := range subjects {
				if !server.IsValidLiteralSubject(s) {
					t.Fatalf("%q is no subject", s)
				}
				if got := uncovered([]string{s}, testTopology(t, n.Namespace()).Streams[stream].Subjects); got != nil {
					t.Fatalf("%q is not in its stream", s)
				}
			}
		}
	}
}

func randomName(r *rand.Rand) string {
	const first, rest = "abcxyz019", "abcxyz019_-"
	b := []byte{first[r.IntN(len(first))]}
	for range r.IntN(maxName) {
		b = append(b, rest[r.IntN(len(rest))])
	}
	return string(b)
}

func randomToken(r *rand.Rand) string {
	const letters = "abcXYZ019_-"
	b := make([]byte, 1+r.IntN(64))
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

// No subject makes a parser panic, and what one accepts is built again to the
// very same subject.
func FuzzSubjects(f *testing.F) {
	for _, s := range []string{"webhooks.events.acme.order.created", "webhooks.deliveries.default.acme.crm",
		"webhooks.dlq.acme.crm", "webhooks.events..", "webhooks.held._replay.x", "webhooks.events.acme.é", "....", ""} {
		f.Add(s)
	}
	n, err := NewNames("")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if tenant, eventType, err := n.ParseEvent(s); err == nil {
			if n.events+tenant+"."+eventType != s {
				t.Errorf("ParseEvent(%q) = %q, %q", s, tenant, eventType)
			}
			if again, err := n.Event(tenant, eventType); (err == nil) != (CheckEventType(eventType) == nil) || err == nil && again != s {
				t.Errorf("%q is built again as %q, %v", s, again, err)
			}
		}
		if lane, tenant, endpoint, err := n.ParseDelivery(s); err == nil && n.Delivery(lane, tenant, endpoint) != s {
			t.Errorf("ParseDelivery(%q) = %q, %q, %q", s, lane, tenant, endpoint)
		}
		if tenant, endpoint, err := n.ParseDeadLetter(s); err == nil && n.DeadLetter(tenant, endpoint) != s {
			t.Errorf("ParseDeadLetter(%q) = %q, %q", s, tenant, endpoint)
		}
	})
}
