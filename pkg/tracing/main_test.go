package tracing

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	producer  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

// output is a log that can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write keeps what the log says.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start starts a tracer that exports to a slice.
func start(t testing.TB) (*Tracer, func() tracetest.SpanStubs) {
	t.Helper()
	e := tracetest.NewInMemoryExporter()
	tracer, err := Start(t.Context(), Options{Version: "test", Replica: "self", Logger: zerolog.Nop(), Exporter: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracer.Stop(t.Context()) })
	return tracer, func() tracetest.SpanStubs {
		t.Helper()
		if err := tracer.provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return e.GetSpans()
	}
}

// published returns an event with headers.
func published(fields ...event.Field) event.Event {
	return event.Event{ID: "evt_1", Tenant: "acme", Type: "order.created", Time: time.Now(), Seq: 7, Body: []byte("{}"), Fields: fields}
}

func newEndpoint(t testing.TB, url string) *endpoint.Endpoint {
	t.Helper()
	d := endpoint.NewDocument()
	d.Tenant, d.ID, d.URL, d.Events, d.Signing = "acme", "crm", url, []string{">"}, "none"
	ep, err := endpoint.Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	return ep
}

// stored returns a delivery as another replica reads it.
func stored(t testing.TB, d delivery.Delivery) delivery.Delivery {
	t.Helper()
	m, err := d.Encode("x", 0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := delivery.Decode("acme", "crm", m.Header, m.Data)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func find(t testing.TB, spans tracetest.SpanStubs, name string, nth int) tracetest.SpanStub {
	t.Helper()
	for _, s := range spans {
		if s.Name == name {
			if nth--; nth < 0 {
				return s
			}
		}
	}
	t.Fatalf("no span %q among %d", name, len(spans))
	return tracetest.SpanStub{}
}

// attributes returns a span's attributes as text.
func attributes(s tracetest.SpanStub) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func wantAttributes(t *testing.T, s tracetest.SpanStub, want map[string]string) {
	t.Helper()
	if got := attributes(s); !maps.Equal(got, want) {
		t.Errorf("span %s has %v, want %v", s.Name, got, want)
	}
}

func wantLink(t *testing.T, s, to tracetest.SpanStub) {
	t.Helper()
	if len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != to.SpanContext.SpanID() || s.Links[0].SpanContext.TraceID() != to.SpanContext.TraceID() {
		t.Errorf("span %s links to %v, want %s", s.Name, s.Links, to.SpanContext.SpanID())
	}
}

func wantParent(t *testing.T, s tracetest.SpanStub, parent trace.SpanID) {
	t.Helper()
	if s.Parent.SpanID() != parent {
		t.Errorf("span %s is a child of %s, want %s", s.Name, s.Parent.SpanID(), parent)
	}
}

// resourceOf returns what a span's resource says of a name.
func resourceOf(s tracetest.SpanStub, name string) string {
	v, _ := s.Resource.Set().Value(attribute.Key(name))
	return v.AsString()
}

func names(spans tracetest.SpanStubs) string {
	var all []string
	for _, s := range spans {
		all = append(all, s.Name)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
