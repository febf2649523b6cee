package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/receiver"
)

// nobodys is what no role may publish to: what removes and replaces, what is
// older than the names in consumers' subjects, what is another namespace's, and
// the answers to others.
var nobodys = []string{
	"$SYS.REQ.SERVER.PING", "$JS.API.ACCOUNT.PURGE.$G",
	"$JS.API.STREAM.DELETE.WEBHOOKS_EVENTS", "$JS.API.STREAM.DELETE.WEBHOOKS_DLQ", "$JS.API.STREAM.DELETE.KV_webhooks_endpoints",
	"$JS.API.STREAM.PURGE.WEBHOOKS_EVENTS", "$JS.API.STREAM.MSG.DELETE.WEBHOOKS_EVENTS", "$JS.API.STREAM.PURGE.KV_webhooks_endpoints",
	"$JS.API.STREAM.MSG.GET.WEBHOOKS_EVENTS", "$JS.API.STREAM.SNAPSHOT.WEBHOOKS_DLQ", "$JS.API.STREAM.RESTORE.WEBHOOKS_DLQ",
	"$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.UPDATE.OTHER", "$JS.API.STREAM.INFO.OTHER", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST",
	"$JS.API.CONSUMER.CREATE.WEBHOOKS_EVENTS", "$JS.API.CONSUMER.CREATE.WEBHOOKS_DLQ", "$JS.API.CONSUMER.CREATE.KV_webhooks_endpoints",
	"$JS.API.CONSUMER.DURABLE.CREATE.WEBHOOKS_EVENTS.x", "$JS.API.CONSUMER.DURABLE.CREATE.WEBHOOKS_DLQ.x",
	"$JS.API.CONSUMER.CREATE.WEBHOOKS_EVENTS.x.webhooks.events.>", "$JS.API.CONSUMER.CREATE.WEBHOOKS_DLQ.x", "$JS.API.CONSUMER.CREATE.OTHER.x",
	"$JS.API.CONSUMER.PAUSE.WEBHOOKS_EVENTS.fanout", "$JS.API.CONSUMER.INFO.KV_webhooks_endpoints.x", "$JS.API.CONSUMER.RESET.WEBHOOKS_EVENTS.fanout",
	"other.events.acme.x", "$JS.API.STREAM.INFO.OTHER_EVENTS", "$KV.other_endpoints.acme.crm",
	"_INBOX.x", "$JS.API.DIRECT.GET.KV_webhooks_replicas.$KV.webhooks_replicas.x",
}

// What one role may and another may not.
var (
	publishing = []string{"webhooks.events.acme.order.created"}
	// What owners are told in jethook's name.
	wording      = []string{"webhooks.events.acme.jethook.endpoint.failing", "webhooks.events.acme.jethook.delivery.dead", "webhooks.events.acme.jethook.x"}
	rotating     = []string{"webhooks.events.acme.jethook.endpoint.secret_rotated"}
	remembering  = []string{"$KV.webhooks_words.acme.crm", "$JS.API.DIRECT.GET.KV_webhooks_words.$KV.webhooks_words.acme.crm"}
	forging      = []string{"webhooks.dlq.acme.crm", "webhooks.scheduled.acme.crm.id.o", "webhooks.held.acme.crm.new", "webhooks.held._ordered.acme.crm.state"}
	replaying    = []string{"webhooks.deliveries.default.acme.crm", "webhooks.held._replay.x", "$JS.API.STREAM.PURGE.WEBHOOKS_DLQ", "$JS.API.STREAM.MSG.DELETE.WEBHOOKS_DLQ"}
	readingDead  = []string{"$JS.API.DIRECT.GET.WEBHOOKS_DLQ", "$JS.API.STREAM.MSG.GET.WEBHOOKS_DLQ", "$JS.API.CONSUMER.CREATE.WEBHOOKS_DLQ.x.webhooks.dlq.>", "$JS.API.CONSUMER.MSG.NEXT.WEBHOOKS_DLQ.x"}
	readingEvent = []string{"$JS.API.DIRECT.GET.WEBHOOKS_EVENTS"}
	readingKeys  = []string{"$JS.API.DIRECT.GET.KV_webhooks_endpoints.$KV.webhooks_endpoints.acme.crm", "$JS.API.CONSUMER.CREATE.KV_webhooks_endpoints.x.$KV.webhooks_endpoints.>"}
	changing     = []string{"$KV.webhooks_endpoints.acme.crm", "$KV.webhooks_endpoints._lanes.bulk", "$KV.webhooks_endpoints._sealing"}
	gating       = []string{"$KV.webhooks_gates.acme.crm", "$KV.webhooks_replicas.x"}
	taking       = []string{"$JS.API.CONSUMER.MSG.NEXT.WEBHOOKS_EVENTS.fanout", "$JS.API.CONSUMER.MSG.NEXT.WEBHOOKS_DELIVERIES.deliver", "$JS.ACK.WEBHOOKS_EVENTS.fanout.1.1.1.1.1", "$JS.ACK.h.h.WEBHOOKS_EVENTS.fanout.1.1.1.1.1", "$JS.ACK.WEBHOOKS_DELIVERIES.deliver.1.1.1.1.1"}
	feeding      = []string{"$JS.API.CONSUMER.CREATE.WEBHOOKS_DELIVERIES.x.webhooks.held.>", "$JS.API.CONSUMER.DELETE.WEBHOOKS_DELIVERIES.deliver", "$JS.API.CONSUMER.PAUSE.WEBHOOKS_DELIVERIES.deliver"}
	ordering     = []string{"$JS.API.CONSUMER.CREATE.WEBHOOKS_EVENTS.x", "$JS.API.CONSUMER.DELETE.WEBHOOKS_EVENTS.fanout", "$JS.API.CONSUMER.CREATE.WEBHOOKS_DELIVERIES.x.webhooks.deliveries.>", "$JS.API.CONSUMER.CREATE.WEBHOOKS_DELIVERIES.x"}
	provisioning = []string{"$JS.API.STREAM.CREATE.WEBHOOKS_EVENTS", "$JS.API.STREAM.UPDATE.WEBHOOKS_EVENTS", "$JS.API.STREAM.UPDATE.WEBHOOKS_DLQ", "$JS.API.STREAM.UPDATE.KV_webhooks_endpoints", "$JS.API.STREAM.CREATE.KV_webhooks_endpoints", "$JS.API.CONSUMER.CREATE.WEBHOOKS_EVENTS.fanout.webhooks.events.>"}
	measuring    = []string{"$JS.API.INFO"} // the account
	looking      = []string{"$JS.API.STREAM.INFO.WEBHOOKS_EVENTS", "$JS.API.CONSUMER.INFO.WEBHOOKS_EVENTS.fanout"}
)

// TestNoRoleMayDoWhatIsNotItsWork asks the server, which says what it refuses.
func TestNoRoleMayDoWhatIsNotItsWork(t *testing.T) {
	t.Parallel()
	s := startStage(t, "")
	s.may(t, "provisioner", "streams", "apply")
	all := [][]string{publishing, wording, rotating, remembering, forging, replaying, readingDead, readingEvent, readingKeys, changing, gating, taking, feeding, ordering, provisioning, measuring, looking}
	but := func(some ...[]string) (rest []string) {
		for _, group := range all {
			if !slices.ContainsFunc(some, func(other []string) bool { return &other[0] == &group[0] }) {
				rest = append(rest, group...)
			}
		}
		return rest
	}
	for user, c := range map[string]struct{ may, mayNot []string }{
		"producer": {publishing, but(publishing)},
		"acme":     {publishing, append(but(publishing), "webhooks.events.other.order.created", "webhooks.events.acme", "webhooks.events.acme.jethook")},
		"worker": {slices.Concat(wording, rotating, remembering, forging, readingKeys, changing, gating, taking, feeding, measuring, looking, readingEvent),
			slices.Concat(publishing, readingDead, ordering, provisioning, replaying[2:],
				[]string{"$JS.API.CONSUMER.MSG.NEXT.WEBHOOKS_EVENTS.ordered~acme~crm", "$JS.API.CONSUMER.CREATE.WEBHOOKS_EVENTS.ordered~acme~crm"})},
		"ordered":  {slices.Concat(wording, rotating, remembering, forging, readingKeys, changing, gating, taking, feeding, ordering, measuring, looking), slices.Concat(publishing, readingDead, provisioning, replaying[2:])},
		"reader":   {slices.Concat(readingKeys, looking, readingEvent), append(but(readingKeys, looking, readingEvent, readingDead), "$JS.API.STREAM.MSG.GET.WEBHOOKS_DLQ")},
		"operator": {slices.Concat(readingKeys, looking, readingDead, changing, replaying, rotating), but(readingKeys, looking, readingEvent, readingDead, changing, replaying, rotating)},
		"provisioner": {slices.Concat(provisioning, looking), append(but(provisioning, looking),
			"$JS.API.CONSUMER.CREATE.WEBHOOKS_EVENTS.other.webhooks.events.>", "$JS.API.CONSUMER.CREATE.WEBHOOKS_DELIVERIES.deliver.webhooks.held.>")},
	} {
		t.Run(user, func(t *testing.T) {
			nc, _ := s.connect(t, user)
			for _, subject := range append(c.mayNot, nobodys...) {
				if err := ask(nc, func() error { return nc.Publish(subject, nil) }); !denied(err, "Publish", subject) {
					t.Errorf("publish to %s: %v", subject, err)
				}
			}
			listens := []string{">", "*.>", "$SYS.>", "$JS.>", "$KV.>", "_INBOX.>", "_INBOX_*.>", "webhooks.>", "webhooks.events.acme.order.created", "webhooks.dlq.>", "$KV.webhooks_endpoints.>"}
			for other, inbox := range s.inbox {
				// A producer of all tenants may hear what those of one are answered. The
				// two kinds of worker are one role.
				if !strings.HasPrefix(inbox+".", s.inbox[user]+".") {
					listens = append(listens, inbox+".>")
					if err := ask(nc, func() error { return nc.Publish(inbox+".x", nil) }); !denied(err, "Publish", inbox+".x") {
						t.Errorf("answer %s: %v", other, err)
					}
				}
			}
			for _, subject := range listens {
				err := ask(nc, func() error { _, err := nc.SubscribeSync(subject); return err })
				if !denied(err, "Subscription", subject) {
					t.Errorf("listen to %s: %v", subject, err)
				}
			}
			// What the server lets through is not refused for another reason.
			last := nc.LastError()
			for _, subject := range c.may {
				if err := ask(nc, func() error { return nc.PublishMsg(harmless(subject)) }); err != last { //nolint:errorlint // the very same is an old one
					t.Errorf("publish to %s: %v", subject, err)
				}
			}
		})
	}
}

// harmless is a message that changes nothing where it is let through: it expects
// a stream that there is not, and what it asks of JetStream cannot be read.
func harmless(subject string) *nats.Msg {
	m := nats.NewMsg(subject)
	if strings.HasPrefix(subject, "$JS.") {
		m.Data = []byte("{")
	}
	m.Header.Set(jetstream.ExpectedStreamHeader, "none")
	return m
}

// ask does something and returns what the server last refused, once it has
// answered.
func ask(nc *nats.Conn, do func() error) error {
	if err := do(); err != nil {
		return err
	}
	if err := nc.FlushTimeout(patience); err != nil {
		return err
	}
	return nc.LastError()
}

// denied reports whether an error is the server's refusal of this subject.
func denied(err error, what, subject string) bool {
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(strings.ToLower(err.Error()), strings.ToLower(fmt.Sprintf("permissions violation for %s to %q", what, subject)))
}

// TestACommandThatARoleMayNotRunChangesNothing runs those of others.
func TestACommandThatARoleMayNotRunChangesNothing(t *testing.T) {
	t.Parallel()
	s := startStage(t, "")
	s.may(t, "provisioner", "streams", "apply")
	r, strict := serve(t, s.as("worker")...), newSink(t, receiver.Options{Status: http.StatusBadRequest})
	documents := fmt.Sprintf(persistent, strict.url)
	s.apply(t, documents)
	s.may(t, "producer", "publish", "acme", "order.created", "--count", "3")
	s.letters(t, "rejected", 3)
	r.signal(15)
	r.wait()
	file := filepath.Join(t.TempDir(), "endpoints.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(documents, "crm", "crm2", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	before := s.holdings(t)
	t.Run("commands", func(t *testing.T) {
		for command, users := range map[string][]string{
			"replay --yes":                    {"reader", "worker"},
			"dlq purge --yes":                 {"reader", "provisioner"},
			"dlq list":                        {"worker", "producer"},
			"dlq show 1":                      {"provisioner"},
			"endpoint list":                   {"producer", "provisioner"},
			"endpoint apply -f " + file:       {"reader"},
			"endpoint pause acme/crm":         {"reader"},
			"endpoint rotate-secret acme/crm": {"reader"},
			"endpoint remove acme/crm --yes":  {"reader"},
			"publish other order.created":     {"acme", "worker", "operator"},
			"streams check":                   {"producer"},
		} {
			for _, user := range users {
				t.Run(user+" "+command, func(t *testing.T) {
					t.Parallel()
					stdout, stderr, code := cliWith(t, append(environment(trial...), s.as(user)...), "", strings.Fields(command)...)
					if code != 1 || !strings.Contains(stderr, "does not let this user do that: nats: permissions violation") {
						t.Errorf("exit code %d: %s%s", code, stdout, stderr)
					}
				})
			}
		}
	})
	if after := s.holdings(t); after != before {
		t.Errorf("it was\n%s\nnow it is\n%s", before, after)
	}
}

// holdings says what is in all streams but that of the replicas.
func (s *stage) holdings(t *testing.T) string {
	t.Helper()
	return holdings(t, s.js)
}

func holdings(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	var text strings.Builder
	all := js.ListStreams(t.Context())
	for info := range all.Info() {
		if info.Config.Name != "KV_webhooks_replicas" {
			fmt.Fprintf(&text, "%s %d-%d %d %d\n", info.Config.Name, info.State.FirstSeq, info.State.LastSeq, info.State.Msgs, info.State.NumDeleted)
		}
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(text.String(), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// makesConsumers are users that may make consumers, and of what, but for those that may
// make them of everything.
var makesConsumers = map[string]map[string]string{
	"reader":   {"WEBHOOKS_DLQ": "webhooks.dlq.>", "KV_webhooks_endpoints": "$KV.webhooks_endpoints.>", "KV_webhooks_gates": "$KV.webhooks_gates.>"},
	"operator": {"WEBHOOKS_DLQ": "webhooks.dlq.>", "KV_webhooks_endpoints": "$KV.webhooks_endpoints.>", "KV_webhooks_gates": "$KV.webhooks_gates.>"},
	"worker": {"WEBHOOKS_DELIVERIES": "webhooks.held.>", "KV_webhooks_endpoints": "$KV.webhooks_endpoints.>",
		"KV_webhooks_gates": "$KV.webhooks_gates.>", "KV_webhooks_replicas": "$KV.webhooks_replicas.>"},
}

// TestAConsumerPublishesNowhereInJethook lets the server send what a user may read to
// subjects that the user may not publish to. A server sends only where somebody
// listens to this very subject, and jethook's streams and JetStream itself listen to
// wider ones.
func TestAConsumerPublishesNowhereInJethook(t *testing.T) {
	t.Parallel()
	s := consumerStage(t)
	before := s.holdings(t)
	for user, readable := range makesConsumers {
		nc, _ := s.connect(t, user)
		inbox := nc.NewInbox()
		own, err := nc.SubscribeSync(inbox)
		if err != nil {
			t.Fatal(err)
		}
		for stream, filter := range readable {
			for i, to := range []string{"webhooks.deliveries.default.acme.crm", "webhooks.events.acme.order.created", "webhooks.dlq.acme.crm", "$KV.webhooks_gates.acme.crm",
				"$KV.webhooks_endpoints.acme.crm", "$JS.API.STREAM.PURGE.WEBHOOKS_EVENTS", "$JS.API.STREAM.DELETE.WEBHOOKS_EVENTS", inbox} {
				made := push(t, nc, stream, jetstream.ConsumerConfig{Name: fmt.Sprintf("%s%d", user, i), FilterSubject: filter, DeliverSubject: to})
				if made != (to == inbox) {
					t.Errorf("%s: what is in %s is sent to %s: %v", user, stream, to, made)
				}
			}
			if _, err := own.NextMsg(patience); err != nil {
				t.Fatalf("%s: what is in %s was not even sent to its inbox: %v", user, stream, err)
			}
		}
	}
	if after := s.holdings(t); after != before {
		t.Errorf("it was\n%s\nnow it is\n%s", before, after)
	}
}

// TestAConsumerPublishesWhereSomebodyListens is what the README warns of, so that the
// warning stays true: who may make a consumer has the server publish for it where a
// client or a stream of another application listens to one subject.
func TestAConsumerPublishesWhereSomebodyListens(t *testing.T) {
	t.Parallel()
	s := consumerStage(t)
	ctx := t.Context()
	other, err := s.js.CreateStream(ctx, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other.job", "other.wide.>"}})
	if err != nil {
		t.Fatal(err)
	}
	heard, err := s.js.Conn().SubscribeSync("other.heard")
	if err == nil {
		err = s.js.Conn().FlushTimeout(patience) // consumers are made over other connections
	}
	if err != nil {
		t.Fatal(err)
	}
	for user, readable := range makesConsumers {
		nc, _ := s.connect(t, user)
		for stream, filter := range readable {
			for i, to := range []string{"other.heard", "other.job", "other.wide.job"} {
				made := push(t, nc, stream, jetstream.ConsumerConfig{Name: fmt.Sprintf("%s%d", user, i), FilterSubject: filter, DeliverSubject: to})
				if made != (to != "other.wide.job") {
					t.Errorf("%s: what is in %s is sent to %s: %v", user, stream, to, made)
				}
			}
			if _, err := heard.NextMsg(patience); err != nil {
				t.Errorf("%s, %s: %v", user, stream, err)
			}
		}
	}
	eventually(t, "the other stream holds what was sent to it", func() error {
		info, err := other.Info(ctx)
		if err == nil && info.State.Msgs == 0 {
			err = errors.New("it is empty")
		}
		return err
	})
}

// consumerStage is a stage with something to read in each stream.
func consumerStage(t *testing.T) *stage {
	t.Helper()
	s := startStage(t, "")
	s.may(t, "provisioner", "streams", "apply")
	s.keepHeartbeats(t, 0)
	for _, subject := range []string{"webhooks.dlq.acme.crm", "webhooks.held.acme.crm.new", "$KV.webhooks_endpoints.acme.crm", "$KV.webhooks_gates.acme.crm", "$KV.webhooks_replicas.x"} {
		if _, err := s.js.Publish(t.Context(), subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// push makes a consumer and reports whether it sends.
func push(t *testing.T, nc *nats.Conn, stream string, c jetstream.ConsumerConfig) bool {
	t.Helper()
	c.AckPolicy = jetstream.AckNonePolicy
	if stream == "WEBHOOKS_DELIVERIES" { // a work queue: it takes one at a time, and no other way to acknowledge
		c.AckPolicy = jetstream.AckExplicitPolicy
		defer func() {
			if _, err := nc.Request("$JS.API.CONSUMER.DELETE."+stream+"."+c.Name, nil, patience); err != nil {
				t.Error(err)
			}
		}()
	}
	request, err := json.Marshal(map[string]any{"stream_name": stream, "config": c})
	if err != nil {
		t.Fatal(err)
	}
	m, err := nc.Request("$JS.API.CONSUMER.CREATE."+stream+"."+c.Name+"."+c.FilterSubject, request, patience)
	if err != nil {
		t.Fatalf("%s: %v", c.DeliverSubject, err)
	}
	var answer struct {
		Bound bool                `json:"push_bound"`
		Error *jetstream.APIError `json:"error"`
	}
	err = json.Unmarshal(m.Data, &answer)
	if answer.Error != nil && answer.Error.ErrorCode == 10081 { // into the very stream: the server knows better
		return false
	}
	if err != nil || answer.Error != nil {
		t.Fatalf("%s: %v %v", c.DeliverSubject, err, answer.Error)
	}
	return answer.Bound
}
