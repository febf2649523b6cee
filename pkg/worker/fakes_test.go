package worker

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/streams"
)

// endpoints are four lines more than a map.
type endpoints struct {
	asked      atomic.Int32 // how often Get was
	bucketMade atomic.Pointer[time.Time]
	mu         sync.Mutex
	all        map[string]*endpoint.Endpoint
	lanes      []endpoint.Lane
	revision   uint64 // of the documents that are put in force from now on
	changed    chan struct{}
	disabled   []string
	behind     atomic.Bool  // not in sync with the bucket
	synced     atomic.Int32 // how often it was asked whether they are in sync
	unheard    map[string]bool
	sought     atomic.Int32 // how often the bucket was asked
}

// forget makes an endpoint one that only the bucket knows, or ends that.
func (e *endpoints) forget(name string, yes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unheard = map[string]bool{name: yes}
}

func (e *endpoints) Lanes() []endpoint.Lane {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.lanes)
}

func (e *endpoints) LaneOf(tenant, eventType string, seq uint64) string {
	for _, l := range e.Lanes() {
		if slices.Contains(l.Filters, tenant+"."+eventType) && l.From <= seq && (l.Until == 0 || seq <= l.Until) {
			return l.ID
		}
	}
	return streams.DefaultLane
}

func (e *endpoints) HasLane(id string) bool {
	return id == streams.DefaultLane || slices.ContainsFunc(e.Lanes(), func(l endpoint.Lane) bool { return l.ID == id && l.Until == 0 })
}

func (e *endpoints) DeleteLane(_ context.Context, id string) error {
	e.mu.Lock()
	e.lanes = slices.DeleteFunc(e.lanes, func(l endpoint.Lane) bool { return l.ID == id })
	e.mu.Unlock()
	e.announce()
	return nil
}

func (e *endpoints) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.changed == nil {
		e.changed = make(chan struct{})
	}
	return e.changed
}

// announce says that something changed.
func (e *endpoints) announce() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.changed != nil {
		close(e.changed)
	}
	e.changed = make(chan struct{})
}

func (e *endpoints) InSync() bool {
	e.synced.Add(1)
	return !e.behind.Load()
}

func (e *endpoints) Exists(_ context.Context, name string) (bool, error) {
	defer e.sought.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all[name] != nil, nil
}

func (e *endpoints) Match(tenant, eventType string) []*endpoint.Endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []*endpoint.Endpoint
	for _, ep := range e.all {
		if ep.Tenant == tenant && slices.Contains(ep.Events, eventType) {
			found = append(found, ep)
		}
	}
	slices.SortFunc(found, func(a, b *endpoint.Endpoint) int { return strings.Compare(a.ID, b.ID) })
	return found
}

func (e *endpoints) Get(tenant, id string) *endpoint.Endpoint {
	defer e.asked.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unheard[tenant+"/"+id] {
		return nil
	}
	return e.all[tenant+"/"+id]
}

func (e *endpoints) Disabled() (found []*endpoint.Endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ep := range e.all {
		if ep.Disabled != nil {
			found = append(found, ep)
		}
	}
	return found
}

func (e *endpoints) Disable(_ context.Context, name, why string) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.disabled = append(e.disabled, name+": "+why)
	return true, nil
}

// call is an attempt that was made.
type call struct {
	endpoint, event string
	made            time.Time // the endpoint
	number          int
	at              time.Time
	body            string
	state           delivery.State
}

// sender is the far side of HTTP.
type sender struct {
	calls chan call // when they began
	mu    sync.Mutex
	reply func(context.Context, call) delivery.Result
}

func (s *sender) Attempt(ctx context.Context, d *delivery.Delivery, ep *endpoint.Endpoint) delivery.Result {
	c := call{endpoint: ep.ID, made: ep.MadeAt, event: d.Event.ID, number: d.Number(), at: time.Now(), body: string(d.Event.Body), state: d.State}
	s.mu.Lock()
	reply := s.reply
	s.mu.Unlock()
	s.calls <- c
	r := reply(ctx, c)
	r.At, r.Duration = c.at, time.Since(c.at)
	return r
}

// answer sets what the far side answers.
func (w *world) answer(reply func(context.Context, call) delivery.Result) {
	w.sender.mu.Lock()
	defer w.sender.mu.Unlock()
	w.sender.reply = reply
}

// status answers with a status.
func status(code int) func(context.Context, call) delivery.Result {
	return func(context.Context, call) delivery.Result { return delivery.Result{Status: code} }
}

// hang answers when it is released, and is interrupted or times out as an
// attempt would.
func hang(released <-chan struct{}) func(context.Context, call) delivery.Result {
	return func(ctx context.Context, _ call) delivery.Result {
		select {
		case <-released:
			return delivery.Result{Status: 200}
		case <-ctx.Done():
			if context.Cause(ctx) == ErrStopping { //nolint:errorlint // the very cause
				return delivery.Result{Fault: delivery.FaultInterrupted}
			}
			return delivery.Result{Fault: delivery.FaultTimeout}
		}
	}
}

// over waits until something is over, or the attempt is cut off: a test that fails
// meanwhile need not wait for it.
func over(ctx context.Context, done <-chan struct{}) {
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// next returns the next attempt.
func (w *world) next() call {
	w.Helper()
	select {
	case c := <-w.sender.calls:
		return c
	case <-w.ctx.Done():
		w.Fatal("no attempt came")
		return call{}
	}
}

// quiet fails if an attempt was made that nobody expected.
func (w *world) quiet() {
	w.Helper()
	select {
	case c := <-w.sender.calls:
		w.Fatalf("unexpected attempt %d of %s at %s", c.number, c.event, c.endpoint)
	default:
	}
}

// proxy carries one connection at a time to the server, so that a test can cut
// it.
type proxy struct {
	listener net.Listener
	mu       sync.Mutex
	open     []net.Conn
	wg       sync.WaitGroup
}

func newProxy(w *world) *proxy {
	w.Helper()
	l, err := (&net.ListenConfig{}).Listen(w.ctx, "tcp", "127.0.0.1:0")
	w.must(err)
	p := &proxy{listener: l}
	target := w.server.Addr().String()
	p.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(w.ctx, "tcp", target)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.open = append(p.open, in, out)
			p.mu.Unlock()
			p.wg.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			p.wg.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
		}
	})
	w.Cleanup(func() { _ = l.Close(); p.cut(); p.wg.Wait() })
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

// rawMsg is a message of no server.
type rawMsg struct{}

func (rawMsg) Metadata() (*jetstream.MsgMetadata, error) { return nil, errNotForThis }
func (rawMsg) Data() []byte                              { return nil }
func (rawMsg) Headers() nats.Header                      { return nil }
func (rawMsg) Subject() string                           { return "" }
func (rawMsg) Reply() string                             { return "" }
func (rawMsg) Ack() error                                { return nil }
func (rawMsg) DoubleAck(context.Context) error           { return nil }
func (rawMsg) Nak() error                                { return nil }
func (rawMsg) NakWithDelay(time.Duration) error          { return nil }
func (rawMsg) InProgress() error                         { return nil }
func (rawMsg) Term() error                               { return nil }
func (rawMsg) TermWithReason(string) error               { return nil }
