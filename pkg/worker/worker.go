package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/telemetry"
	"jethook/streams"
)

// Endpoints finds endpoints.
type Endpoints interface {
	Match(tenant, eventType string) []*endpoint.Endpoint
	Get(tenant, id string) *endpoint.Endpoint
	// InSync reports whether they are what the bucket says now.
	InSync() bool
}

// Sender makes one attempt within ctx and returns the facts.
type Sender interface {
	Attempt(ctx context.Context, d *delivery.Delivery, ep *endpoint.Endpoint) delivery.Result
}

// Documents are the endpoints as they are stored, by name.
type Documents interface {
	// Disable stores that an endpoint is disabled and why, and reports whether
	// it was not before.
	Disable(ctx context.Context, name, why string) (changed bool, err error)
	// Exists reports whether there is such an endpoint, broken or not.
	Exists(ctx context.Context, name string) (bool, error)
}

// Letters makes dead letters.
type Letters interface {
	Letter(d *delivery.Delivery, url string, reason delivery.Reason, at time.Time) (*nats.Msg, error)
}

// Options are what a worker works with. All are required.
type Options struct {
	JetStream   jetstream.JetStream
	Names       streams.Names
	MaxInFlight int  // attempts at a time
	Schedules   bool // the server's schedules may be relied on
	Endpoints   Endpoints
	Sender      Sender
	Documents   Documents
	Letters     Letters
	// Restore makes streams and consumers again that somebody deleted. Every
	// event up to floor was acked.
	Restore func(ctx context.Context, floor uint64) error
	Metrics *telemetry.Metrics
	Logger  zerolog.Logger
}

// Worker delivers. New makes one, Run runs it once.
type Worker struct {
	js        jetstream.JetStream
	names     streams.Names
	schedules bool
	endpoints Endpoints
	sender    Sender
	documents Documents
	letters   Letters
	restore   func(ctx context.Context, floor uint64) error
	metrics   *telemetry.Metrics
	log       zerolog.Logger
	oddities  zerolog.Logger // for what producers can make happen as often as they like

	pool            *pool
	naks            *naks
	fanout, deliver *consumer
	storing         trouble    // with the stream of deliveries
	burying         trouble    // with that of dead letters
	mending         sync.Mutex // one mends at a time
	keepEvery       time.Duration
	fetchFor        time.Duration
	patience        time.Duration
	cutOff          atomic.Int64

	// attempts is the context of all attempts and of storing what came of
	// them. It outlives Run's by the grace period.
	attempts context.Context
	cut      context.CancelCauseFunc
}

// New returns a worker that does nothing yet.
func New(o Options) *Worker {
	w := &Worker{
		js: o.JetStream, names: o.Names, schedules: o.Schedules, endpoints: o.Endpoints,
		sender: o.Sender, documents: o.Documents, letters: o.Letters,
		restore: o.Restore, metrics: o.Metrics, log: o.Logger, pool: newPool(o.MaxInFlight),
		oddities:  o.Logger.Sample(&zerolog.BurstSampler{Burst: 10, Period: time.Minute}),
		keepEvery: keepEvery, fetchFor: fetchFor, patience: patience,
	}
	w.attempts, w.cut = context.WithCancelCause(context.Background())
	w.naks = newNaks(w.complain)
	w.fanout = w.consumer(o.Names.Events(), streams.Fanout, w.event)
	w.deliver = w.consumer(o.Names.Deliveries(), streams.Deliver, w.delivery)
	o.Metrics.InFlight(w.pool.busy)
	return w
}

func (w *Worker) consumer(stream, durable string, handle func(*message)) *consumer {
	return &consumer{w: w, stream: stream, durable: durable, handle: handle,
		log: w.log.With().Str("consumer", durable).Logger()}
}

// Running reports whether both consumers are being read.
func (w *Worker) Running() bool { return w.fanout.running.Load() && w.deliver.running.Load() }

// ErrStopping is the cause with which attempts are cut off when the grace
// period is over.
var ErrStopping = errors.New("jethook is stopping")

// Run delivers until ctx ends. Then it fetches no more, lets the running
// attempts finish for as long as grace, hands back the rest, and returns the
// number of deliveries that it cut off. No attempt that was cut off counts.
func (w *Worker) Run(ctx context.Context, grace time.Duration) (cutOff int) {
	aside, stopAside := context.WithCancel(context.Background())
	var consumers, others sync.WaitGroup
	for _, c := range []*consumer{w.fanout, w.deliver} {
		consumers.Go(func() { c.run(ctx) })
		others.Go(func() { c.look(aside) })
	}
	others.Go(func() { w.naks.run(aside) })
	others.Go(func() { w.keepalive(aside) })

	<-ctx.Done()
	finished := make(chan struct{})
	go func() {
		consumers.Wait()
		w.pool.wait()
		close(finished)
	}()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-finished:
	case <-timer.C:
	}
	w.cut(ErrStopping)
	<-finished
	stopAside()
	others.Wait()
	w.pool.close()
	if err := w.js.Conn().FlushTimeout(5 * time.Second); err != nil {
		w.log.Warn().Err(err).Msg("the last acks may not have reached NATS; what they were for may come again")
	}
	return int(w.cutOff.Load())
}

// Restorer returns the Restore of a topology: it makes what is missing, and
// lets the fanout consumer begin where it was, not at the start of a week's
// events. A bucket that is gone is not made again: an empty one would mean that
// there are no endpoints.
func Restorer(js jetstream.JetStream, t streams.Topology) func(ctx context.Context, floor uint64) error {
	return func(ctx context.Context, floor uint64) error {
		if _, err := t.WithoutBuckets().From(streams.Fanout, floor).Ensure(ctx, js); err != nil {
			return fmt.Errorf("topology: %w", err)
		}
		return nil
	}
}
