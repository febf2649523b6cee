package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector takes spans by OTLP over HTTP, as an OpenTelemetry collector does.
type collector struct {
	*httptest.Server
	mu       sync.Mutex
	bodies   []string
	header   http.Header // of the last request
	resource map[string]string
	spans    []*tracepb.Span
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

// ServeHTTP takes an export.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var export collectorpb.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &export) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bodies, c.header = append(c.bodies, string(body)), r.Header
	for _, of := range export.GetResourceSpans() {
		c.resource = texts(of.GetResource().GetAttributes())
		for _, scope := range of.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
}

// texts returns attributes as text.
func texts(attributes []*commonpb.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range attributes {
		switch v := a.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			all[a.GetKey()] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			all[a.GetKey()] = fmt.Sprint(v.IntValue)
		case *commonpb.AnyValue_BoolValue:
			all[a.GetKey()] = fmt.Sprint(v.BoolValue)
		}
	}
	return all
}

// of returns the spans of an event by name, in the order in which they began.
func (c *collector) of(event string) map[string][]*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string][]*tracepb.Span{}
	for _, s := range c.spans {
		if texts(s.GetAttributes())["jethook.event_id"] == event {
			all[s.GetName()] = append(all[s.GetName()], s)
		}
	}
	return all
}

// await waits until an event has so many spans of each name, and returns them.
func (c *collector) await(t *testing.T, event string, want map[string]int) map[string][]*tracepb.Span {
	t.Helper()
	eventually(t, "the spans of "+event, func() error {
		got := map[string]int{}
		for name, spans := range c.of(event) {
			got[name] = len(spans)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("got %v, want %v", got, want)
		}
		return nil
	})
	return c.of(event)
}

// farSide answers by the path, with what was set or 200, and remembers the trace
// contexts that it got.
type farSide struct {
	*httptest.Server
	mu     sync.Mutex
	answer map[string][]int    // statuses to come, by path
	got    map[string][]string // traceparents, by event
}

func newFarSide(t *testing.T) *farSide {
	t.Helper()
	f := &farSide{answer: map[string][]int{}, got: map[string][]string{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// ServeHTTP is a receiver.
func (f *farSide) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := r.Header.Get("Webhook-Id")
	f.got[id] = append(f.got[id], r.Header.Get("Traceparent"))
	if left := f.answer[r.URL.Path]; len(left) > 0 {
		f.answer[r.URL.Path] = left[1:]
		w.WriteHeader(left[0])
	}
}

func (f *farSide) traceparents(event string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got[event]
}

const traceOfProducer, spanOfProducer = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

// publishTraced publishes an event in a trace that is sampled, or not.
func publishTraced(t *testing.T, js jetstream.JetStream, eventType, id, flags string) {
	t.Helper()
	m := nats.NewMsg("webhooks.events.acme." + eventType)
	m.Header = nats.Header{"Nats-Msg-Id": {id}, "traceparent": {"00-" + traceOfProducer + "-" + spanOfProducer + "-" + flags}, "tracestate": {"vendor=1"}}
	m.Data = []byte("{}")
	if _, err := js.PublishMsg(context.Background(), m); err != nil {
		t.Fatal(err)
	}
}

// wantBelow checks that a span is a child of another in the producer's trace.
func wantBelow(t *testing.T, s *tracepb.Span, parent string) {
	t.Helper()
	if hex.EncodeToString(s.GetTraceId()) != traceOfProducer || hex.EncodeToString(s.GetParentSpanId()) != parent {
		t.Errorf("span %s of trace %x is a child of %x, want %s", s.GetName(), s.GetTraceId(), s.GetParentSpanId(), parent)
	}
}

func spanID(s *tracepb.Span) string { return hex.EncodeToString(s.GetSpanId()) }

// wantLinked checks that a span links to another and to nothing else.
func wantLinked(t *testing.T, s, to *tracepb.Span) {
	t.Helper()
	if len(s.GetLinks()) != 1 || hex.EncodeToString(s.GetLinks()[0].GetSpanId()) != spanID(to) || hex.EncodeToString(s.GetLinks()[0].GetTraceId()) != traceOfProducer {
		t.Errorf("span %s links to %v, want %s", s.GetName(), s.GetLinks(), spanID(to))
	}
}

// wantTexts checks some attributes of a span.
func wantTexts(t *testing.T, s *tracepb.Span, want map[string]string) {
	t.Helper()
	got := texts(s.GetAttributes())
	for name, value := range want {
		if got[name] != value {
			t.Errorf("span %s: %s is %q, want %q (of %v)", s.GetName(), name, got[name], value, got)
		}
	}
}

// A trace goes from the producer through every attempt to the receiver: over
// retries, over a dead letter and its replay on another replica. What the producer
// did not sample is not exported, and the receiver hears of that, too.
func TestATraceGoesFromTheProducerToTheReceiver(t *testing.T) {
	t.Parallel()
	server, traces, far := startNATS(t), newCollector(t), newFarSide(t)
	far.answer["/flaky"] = []int{saysNothing}
	far.answer["/refusing"] = []int{http.StatusBadRequest}
	env := []string{"NATS_URL=" + server.url, "OTEL_EXPORTER_OTLP_ENDPOINT=" + traces.URL, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20x",
		"OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test", "OTEL_BSP_SCHEDULE_DELAY=50"}
	r := serve(t, env...)
	apply(t, server.url, fmt.Sprintf(`endpoints:
- {tenant: acme, id: flaky, url: "%[1]s/flaky?key=canary", events: [flaky], retry: {schedule: [50ms]}}
- {tenant: acme, id: refusing, url: "%[1]s/refusing", events: [refusing]}
`, far.URL), r)
	_, js := connect(t, server.url)
	publishTraced(t, js, "flaky", "evt-flaky", "01")
	publishTraced(t, js, "refusing", "evt-dead", "01")

	spans := traces.await(t, "evt-flaky", map[string]int{"process event": 1, "deliver": 1, "POST": 2})
	read, deliver, first, second := spans["process event"][0], spans["deliver"][0], spans["POST"][0], spans["POST"][1]
	wantBelow(t, read, spanOfProducer)
	wantBelow(t, deliver, spanID(read))
	wantBelow(t, first, spanID(deliver))
	wantBelow(t, second, spanID(deliver))
	wantLinked(t, second, first)
	publishTraced(t, js, "flaky", "evt-unsampled", "00") // not before: the first to come is refused
	wantTexts(t, first, map[string]string{"http.request.method": "POST", "http.response.status_code": "408", "error.type": "408", "url.full": far.URL + "/flaky",
		"jethook.endpoint": "acme/flaky", "jethook.attempt": "1", "jethook.outcome": "retry"})
	wantTexts(t, second, map[string]string{"http.response.status_code": "200", "error.type": "", "jethook.attempt": "2", "jethook.outcome": "delivered"})
	if read.GetKind() != tracepb.Span_SPAN_KIND_CONSUMER || first.GetKind() != tracepb.Span_SPAN_KIND_CLIENT ||
		first.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR || second.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("kinds %s and %s, statuses %s and %s", read.GetKind(), first.GetKind(), first.GetStatus(), second.GetStatus())
	}
	want := []string{"00-" + traceOfProducer + "-" + spanID(first) + "-01", "00-" + traceOfProducer + "-" + spanID(second) + "-01"}
	if got := far.traceparents("evt-flaky"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the receiver got %v, want %v", got, want)
	}

	before := traces.await(t, "evt-dead", map[string]int{"process event": 1, "deliver": 1, "POST": 1, "dead letter": 1})
	wantLinked(t, before["dead letter"][0], before["POST"][0])
	wantTexts(t, before["dead letter"][0], map[string]string{"jethook.reason": "rejected", "error.type": "rejected"})
	stop(t, r)
	other := serve(t, env...)
	must(t, server.url, "replay", "--yes")
	after := traces.await(t, "evt-dead", map[string]int{"process event": 1, "deliver": 1, "POST": 2, "dead letter": 1})
	again := after["POST"][1]
	wantBelow(t, again, spanID(after["deliver"][0]))
	wantLinked(t, again, after["POST"][0])
	wantTexts(t, again, map[string]string{"jethook.replay": "true", "jethook.attempt": "1", "jethook.outcome": "delivered"})

	eventually(t, "the unsampled event arrived", func() error {
		if n := len(far.traceparents("evt-unsampled")); n == 0 {
			return fmt.Errorf("it has not")
		}
		return nil
	})
	stop(t, other)
	if spans := traces.of("evt-unsampled"); len(spans) != 0 {
		t.Errorf("spans of an event that was not sampled: %v", spans)
	}
	for _, got := range far.traceparents("evt-unsampled") {
		if !strings.HasPrefix(got, "00-"+traceOfProducer+"-") || !strings.HasSuffix(got, "-00") || strings.Contains(got, spanOfProducer) {
			t.Errorf("unsampled, the receiver got %s", got)
		}
	}
	if traces.header.Get("Authorization") != "Bearer x" || traces.resource["service.name"] != "jethook" || traces.resource["deployment.environment.name"] != "test" {
		t.Errorf("the collector got %v, of %v", traces.header, traces.resource)
	}
	if strings.Contains(strings.Join(traces.bodies, ""), "canary") {
		t.Error("a query string is in the spans")
	}
}

// stop ends a replica, which must go well.
func stop(t *testing.T, r *replica) {
	t.Helper()
	r.signal(syscall.SIGTERM)
	if code := r.wait(); code != 0 {
		t.Fatalf("exit code %d: %s", code, r.log)
	}
}

// A collector that never answers delays no delivery, and a stop by three seconds at
// most. Another that answers when the replica stops gets what is left.
func TestACollectorThatHangsHoldsNothingUp(t *testing.T) {
	t.Parallel()
	server, far := startNATS(t), newFarSide(t)
	hung := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hung:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(hung) })
	traces := newCollector(t)
	for _, c := range []struct {
		name, endpoint string
		exported       bool
		within         time.Duration
	}{{"hangs", silent.URL, false, 20 * time.Second}, {"answers", traces.URL, true, 20 * time.Second}} {
		r := serve(t, "NATS_URL="+server.url, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.endpoint, "OTEL_BSP_SCHEDULE_DELAY=3600000")
		apply(t, server.url, fmt.Sprintf("endpoints:\n- {tenant: acme, id: crm, url: %q, events: ['>']}\n", far.URL), r)
		_, js := connect(t, server.url)
		for i := range 600 { // more than a batch
			publishTraced(t, js, "order.created", eventID(c.name, i), "01")
		}
		eventually(t, "all arrived", func() error {
			for i := range 600 {
				if len(far.traceparents(eventID(c.name, i))) == 0 {
					return fmt.Errorf("event %d has not", i)
				}
			}
			return nil
		})
		began := time.Now()
		stop(t, r)
		if took := time.Since(began); took > c.within {
			t.Errorf("with a collector that %s the stop took %s", c.name, took)
		}
		if lost := strings.Contains(r.log.String(), "traces could not be exported"); lost == c.exported {
			t.Errorf("with a collector that %s the log says that spans are lost: %v", c.name, lost)
		}
	}
	for i := range 600 {
		if n := len(traces.of(eventID("answers", i))["POST"]); n != 1 {
			t.Fatalf("event %d has %d spans of an attempt at the collector", i, n)
		}
	}
}

// A setting of OpenTelemetry's that is of no use is named at the start, and never
// quoted where it may hold a credential.
func TestATraceSettingThatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{"OTEL_EXPORTER_OTLP_HEADERS=canary", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_TRACES_SAMPLER=some"} {
		env := append(environment(trial...), "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318", variable)
		_, stderr, code := cliWith(t, env, "", "serve")
		name, _, _ := strings.Cut(variable, "=")
		if code != 2 || !strings.Contains(stderr, name) || strings.Contains(stderr, "canary") {
			t.Errorf("%s: exit code %d, %s", variable, code, stderr)
		}
	}
}
