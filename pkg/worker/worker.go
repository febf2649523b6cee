package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/attempt"
	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/fleet"
	"jethook/pkg/gate"
	"jethook/pkg/hold"
	"jethook/pkg/telemetry"
	"jethook/pkg/tracing"
	"jethook/streams"
)

// Endpoints finds endpoints and lanes.
type Endpoints interface {
	Match(tenant, eventType string) []*endpoint.Endpoint
	Get(tenant, id string) *endpoint.Endpoint
	// Ordered returns those that get their events in order.
	Ordered() []*endpoint.Endpoint
	// Disabled returns those that get no attempts until somebody enables them.
	Disabled() []*endpoint.Endpoint
	// Revision returns the last revision of the bucket that is in force.
	Revision() uint64
	// BucketMade returns when the bucket was made that they come from.
	BucketMade() time.Time
	Lanes() []endpoint.Lane
	// LaneOf returns the lane of an event, by its place in the stream of events.
	LaneOf(tenant, eventType string, seq uint64) string
	// HasLane reports whether there is such a lane, and it is to stay.
	HasLane(id string) bool
	// InSync reports whether they are what the bucket says now.
	InSync() bool
	// Changed is closed by the next change.
	Changed() <-chan struct{}
}

// Sender makes one attempt within ctx and returns the facts.
type Sender interface {
	Attempt(ctx context.Context, d *delivery.Delivery, ep *endpoint.Endpoint) delivery.Result
}

// Documents are endpoints and lanes as they are stored, by name.
type Documents interface {
	// Disable stores that an endpoint is disabled and why, and reports whether
	// it was not before.
	Disable(ctx context.Context, name, why string) (changed bool, err error)
	// Exists reports whether there is such an endpoint, broken or not.
	Exists(ctx context.Context, name string) (bool, error)
	// DeleteLane deletes a lane that was drained.
	DeleteLane(ctx context.Context, id string) error
}

// Letters makes dead letters.
type Letters interface {
	Letter(d *delivery.Delivery, url string, reason delivery.Reason, at time.Time) (*nats.Msg, error)
}

// Replicas are those that are alive.
type Replicas interface {
	// Count is how many they are, this one included.
	Count() int
	// CountOf is how many of them serve a lane.
	CountOf(lane string) int
	// Rank says how many of them come before this one in caring for what the
	// key names, RankOf how many of those that serve a lane.
	Rank(key string) int
	RankOf(lane, key string) int
	// Live returns what each says of itself.
	Live() []fleet.Member
}

// Words hears what endpoints' owners are to be told. It blocks nobody.
type Words interface {
	// Buried hears of a dead letter that was stored.
	Buried(d *delivery.Delivery, reason delivery.Reason)
	// Heard hears of one of jethook's own events, which is about an endpoint of
	// its tenant.
	Heard(e event.Event, about string)
}

// Options are what a worker works with. All are required but Lanes,
// StorageLimit, TenantRate, Trace, Spotlight, Log and Words.
type Options struct {
	JetStream   jetstream.JetStream
	Names       streams.Names
	MaxInFlight int      // attempts at a time, divided among the lanes
	Spotlight   int      // busiest endpoints with metrics of their own, and up to five times as many in trouble; 0 is none
	Lanes       []string // to be served; empty is all
	// StorageLimit is how much the NATS server can store, as far as it is known; an
	// account's own limit comes first. 0 is unknown.
	StorageLimit int64
	// TenantRate is how many deliveries of one tenant have their first attempt
	// per second in a lane, by all replicas together; a second's worth may go at
	// once. What is more waits. Zero is no limit.
	TenantRate float64
	Schedules  bool // the server's schedules may be relied on
	Endpoints  Endpoints
	Sender     Sender
	Documents  Documents
	Letters    Letters
	Replicas   Replicas
	Gates      *gate.Fleet
	Words      Words
	// Restore makes streams and consumers again that somebody deleted. Every
	// event up to its consumer's floor was acked.
	Restore func(ctx context.Context, floors map[string]uint64) error
	// Log keeps every attempt and for whom each event is. Nil keeps nothing.
	Log     *attempt.Writer
	Metrics *telemetry.Metrics
	Trace   *tracing.Tracer // nil: no spans
	Logger  zerolog.Logger
}

// Worker delivers. New makes one, Run runs it once.
type Worker struct {
	js          jetstream.JetStream
	names       streams.Names
	maxInFlight int
	serve       []string // lanes
	storage     int64
	tenantRate  float64
	schedules   bool
	endpoints   Endpoints
	sender      Sender
	documents   Documents
	letters     Letters
	replicas    Replicas
	fleet       *gate.Fleet
	held        *hold.Store
	restore     func(ctx context.Context, floors map[string]uint64) error
	attemptLog  *attempt.Writer
	unlogged    unlogged
	words       Words
	metrics     *telemetry.Metrics
	trace       *tracing.Tracer
	log         zerolog.Logger
	oddities    zerolog.Logger  // for what producers can make happen as often as they like
	each        zerolog.Sampler // of the lines that tell of each attempt

	lanes     lanes
	ended     []*lane             // guarded by the lanes' mutex
	ends      map[string]*laneEnd // of lanes that are being removed; of reconcile
	naks      *naks
	keeper    *keeper
	ordered   *ordered
	figures   *figures
	storing   trouble        // with the stream of deliveries
	burying   trouble        // with that of dead letters
	gating    trouble        // with the bucket of gates
	telling   sync.WaitGroup // the fleet of gates that opened
	mending   sync.Mutex     // one mends at a time
	keepEvery time.Duration
	fetchFor  time.Duration
	patience  time.Duration

	straysEvery time.Duration
	random      func() float64
	cutOff      atomic.Int64
	answered    atomic.Bool // for a message, while stopping or without a connection
	stopping    atomic.Bool // Run's context has ended
	unheard     atomic.Bool // and NATS did not answer since
	laned       atomic.Bool // there are lanes

	// attempts is the context of all attempts and of storing what came of
	// them. It outlives Run's by the grace period.
	attempts context.Context
	cut      context.CancelCauseFunc
}

// New returns a worker that does nothing yet.
func New(o Options) *Worker {
	w := &Worker{
		js: o.JetStream, names: o.Names, maxInFlight: o.MaxInFlight, serve: o.Lanes, storage: o.StorageLimit, tenantRate: o.TenantRate, schedules: o.Schedules,
		endpoints: o.Endpoints, sender: checked{timed{o.Sender, o.Metrics}}, documents: o.Documents, letters: o.Letters, replicas: o.Replicas,
		fleet: o.Gates, held: hold.NewStore(o.JetStream, o.Names),
		restore: o.Restore, attemptLog: o.Log, words: o.Words, metrics: o.Metrics, trace: o.Trace, log: o.Logger,
		oddities:  o.Logger.Sample(&zerolog.BurstSampler{Burst: 10, Period: time.Minute}),
		each:      &zerolog.BurstSampler{Burst: eachPerSecond, Period: time.Second},
		keepEvery: keepEvery, fetchFor: fetchFor, patience: patience, ends: make(map[string]*laneEnd), straysEvery: straysEvery, random: rand.Float64,
	}
	if w.words == nil {
		w.words = silence{}
	}
	w.attempts, w.cut = context.WithCancelCause(context.Background())
	w.naks = newNaks(w.complain)
	w.keeper = newKeeper(w)
	w.ordered = newOrdered(w)
	w.figures = newFigures(w, o.Spotlight)
	o.Gates.OnChange(w.gateChanged)
	return w
}

func (w *Worker) consumer(l *lane, stream, durable string, handle func(*message)) *consumer {
	return &consumer{w: w, lane: l, stream: stream, durable: durable, handle: handle,
		log: w.log.With().Str("consumer", durable).Logger()}
}

// Running reports whether the consumers of all lanes are being read.
func (w *Worker) Running() bool {
	all := w.lanes.list()
	for _, l := range all {
		for _, c := range l.consumers {
			if !c.running.Load() {
				return false
			}
		}
	}
	return len(all) > 0
}

// busy returns how many goroutines are working on messages.
func (w *Worker) busy() (n int) {
	for _, l := range w.lanes.list() {
		n += l.pool.busy()
	}
	return n
}

// lastAcks is how long a stop waits until NATS has the last acks.
const lastAcks = 2 * time.Second

// ErrUnanswered is returned by Run when NATS was not there to be told what came of
// the last messages.
var ErrUnanswered = errors.New("NATS could not be told what came of the last attempts; it hands out their events again, and some will be made again")

// ErrStopping is the cause with which attempts are cut off when the grace
// period is over.
var ErrStopping = errors.New("jethook is stopping")

// Run delivers until ctx ends. Then it fetches no more, lets the running
// attempts finish for as long as grace, hands back the rest, and returns the
// number of deliveries that it cut off. No attempt that was cut off counts. The
// error is ErrUnanswered, or nil.
func (w *Worker) Run(ctx context.Context, grace time.Duration) (cutOff int, err error) {
	aside, stopAside := context.WithCancel(context.Background())
	var intake, others sync.WaitGroup
	intake.Go(func() { w.runLanes(ctx) })
	intake.Go(func() { w.keeper.run(ctx) })
	intake.Go(func() { w.strays(ctx) })
	intake.Go(func() { w.ordered.run(ctx) })
	intake.Go(func() { w.figures.run(ctx) })
	others.Go(func() { w.naks.run(aside) })
	others.Go(func() { w.keepalive(aside) })
	others.Go(func() { w.ordered.keepalive(aside) })
	others.Go(func() { w.attemptLog.Run(aside) })

	<-ctx.Done()
	w.stopping.Store(true)
	finished := make(chan struct{})
	go func() {
		intake.Wait()
		for _, l := range w.everyLane() {
			l.pool.wait()
		}
		w.telling.Wait()
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
	for _, l := range w.everyLane() {
		l.pool.close()
	}
	if w.answered.Load() {
		if err = w.js.Conn().FlushTimeout(lastAcks); err != nil {
			err = fmt.Errorf("%w: %w", ErrUnanswered, err)
		}
	}
	return int(w.cutOff.Load()), err
}

// everyLane returns the lanes that there are, and those that were.
func (w *Worker) everyLane() []*lane {
	w.lanes.mu.RLock()
	defer w.lanes.mu.RUnlock()
	return slices.Concat(w.lanes.all, w.ended)
}

// Restorer returns the Restore of a topology and the lanes that there are: it
// makes what is missing but the bucket of endpoints, and lets a fanout consumer
// begin where it was, not at the start of a week's events.
func Restorer(js jetstream.JetStream, t streams.Topology, lanes func() []endpoint.Lane) func(context.Context, map[string]uint64) error {
	return func(ctx context.Context, floors map[string]uint64) error {
		restored := t.WithoutEndpoints()
		for _, l := range lanes() {
			restored.Consumers = append(restored.Consumers, t.Lane(l.ID, l.Filters, l.From).Consumers...)
		}
		for durable, floor := range floors {
			restored = restored.From(durable, floor)
		}
		if _, err := restored.Ensure(ctx, js); err != nil {
			return fmt.Errorf("topology: %w", err)
		}
		return nil
	}
}
