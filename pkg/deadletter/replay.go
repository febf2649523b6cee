package deadletter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"jethook/pkg/endpoint"
	"jethook/streams"
)

// Endpoints reads endpoint documents by TENANT/ENDPOINT; errors.Is finds
// endpoint.ErrNotFound in its error for one that does not exist. It reads the
// lanes, too.
type Endpoints interface {
	Get(ctx context.Context, name string) (endpoint.Document, error)
	Lanes(ctx context.Context) ([]endpoint.Lane, []*endpoint.BrokenError, error)
}

// ReplayOptions say how to replay.
type ReplayOptions struct {
	Endpoints Endpoints
	Rate      float64        // dead letters a second; 0 is as fast as it goes
	DryRun    bool           // only count
	Progress  func(done int) // called after each batch; may be nil
}

// ReplayResult says what a replay did.
type ReplayResult struct {
	// Replayed is how many dead letters are on their way again; in a dry run,
	// how many would be.
	Replayed int `json:"replayed"`
	// Finished is how many dead letters an interrupted replay had sent, which
	// only had to be removed.
	Finished int `json:"finished"`
	// NoEndpoint counts the letters that stay because their endpoint does not
	// exist, by TENANT/ENDPOINT. They would only come back.
	NoEndpoint map[string]int `json:"no_endpoint"`
	// Unreadable is how many messages stay because they are not dead letters.
	Unreadable int `json:"unreadable"`
	// Refused is how many letters stay because NATS did not take them, and
	// Refusal why it did not take the first.
	Refused int    `json:"refused"`
	Refusal string `json:"refusal,omitempty"`
	// Windowed says that the stream of deliveries takes no atomic batches: what
	// was sent when a replay is killed is then not sent twice only if the next
	// one runs within the stream's duplicate window.
	Windowed bool `json:"windowed"`
}

// batchSize is how many dead letters are sent in one step. The server takes up
// to 1,000 messages in an atomic batch.
const batchSize = 500

// minFresh is for how long a look for marks is good at least: a shorter time
// would be over before a distant server answers.
const minFresh = time.Second

// Replay sends the dead letters that the filter means again, oldest first, of
// those that there are at the start. Each becomes a delivery with its history
// and no failed attempts, and is removed after that is stored. When ctx ends,
// it finishes the batch that it is at and returns the context's cause.
//
// A batch is stored in one atomic step together with a mark that lists its dead
// letters, and only then are they removed, and last the mark. So whenever a
// replay ends, each letter is either still there and unsent, or listed by a mark
// that the next replay acts upon before it reads anything. Two replays at the
// same time cannot both send a letter: each looks for marks, reads a batch after
// that, and stores it within half of the duplicate window, in which the server
// refuses what the other stored meanwhile. (A window of less than two seconds is
// too short for that.)
func (s *Store) Replay(ctx context.Context, f Filter, o ReplayOptions) (ReplayResult, error) {
	if err := f.Validate(); err != nil {
		return ReplayResult{}, err
	}
	r, err := s.newReplay(ctx, f, o)
	if err != nil {
		return ReplayResult{}, err
	}
	if o.DryRun {
		err = r.count(ctx)
	} else {
		err = r.run(ctx)
	}
	return r.result, err
}

// replay is one run.
type replay struct {
	*Store
	filter  Filter
	options ReplayOptions
	result  ReplayResult

	created time.Time     // when the stream of dead letters was made
	atomic  bool          // the stream of deliveries takes atomic batches
	fresh   time.Duration // how long a look for marks is good for
	limiter *rate.Limiter

	next, last uint64          // the sequences that are still to be read
	matched    int             // letters that the filter meant, sent or not
	size       int             // of a batch
	lanes      map[string]lane // by the endpoint's name
	sweep      sweep
}

// lane is an endpoint's lane and when that was made, or that there is no such
// endpoint.
type lane struct {
	name   string
	exists bool
	made   time.Time
}

func (s *Store) newReplay(ctx context.Context, f Filter, o ReplayOptions) (*replay, error) {
	dead, err := s.stream(ctx, s.names.DeadLetters())
	if err != nil {
		return nil, err
	}
	deliveries, err := s.stream(ctx, s.names.Deliveries())
	if err != nil {
		return nil, err
	}
	config := deliveries.CachedInfo().Config
	r := &replay{
		Store: s, filter: f, options: o,
		created: dead.CachedInfo().Created,
		atomic:  config.AllowAtomicPublish,
		fresh:   max(config.Duplicates/2, minFresh),
		limiter: rate.NewLimiter(rate.Inf, 0),
		size:    batchSize,
		lanes:   map[string]lane{},
	}
	r.result = ReplayResult{NoEndpoint: map[string]int{}, Windowed: !r.atomic}
	r.next, r.last = f.span()
	r.last = min(r.last, dead.CachedInfo().State.LastSeq)
	r.sweep = sweep{Store: s, subject: f.subject(s.names), all: r.next == 1 && f.Since.IsZero()}
	if o.Rate > 0 {
		// Four batches a second are smooth enough and cost little.
		r.size = int(min(batchSize, max(1, math.Ceil(o.Rate/4))))
		r.limiter = rate.NewLimiter(rate.Limit(o.Rate), batchSize)
		r.limiter.AllowN(time.Now(), batchSize) // begin at the rate, not with a burst
	}
	return r, nil
}

// run replays batch by batch. A batch that must be read again changes nothing.
func (r *replay) run(ctx context.Context) error {
	var met []uint64 // the letters of the last batch, if it met a duplicate
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		looked := time.Now()
		finished, err := r.finishMarks(ctx, r.created)
		r.result.Finished += finished
		if err != nil {
			return err
		}
		b, err := r.read(ctx)
		if err != nil {
			return err
		}
		if b.end == 0 {
			return nil
		}
		b.deadline = looked.Add(r.fresh)
		before := r.result.Replayed
		// Where another replay stored them, its mark or their absence said so at
		// the second look. The same letters again: one is stored without a mark.
		err = r.send(ctx, b, met != nil && slices.Equal(met, seqsOf(b.letters)))
		met = nil
		switch {
		case errors.Is(err, errStale):
			r.size = max(1, r.size/2)
			continue
		case errors.Is(err, errDuplicate):
			met = seqsOf(b.letters)
			continue
		case errors.Is(err, errConflict):
			continue
		case err != nil:
			return err
		}
		r.skip(b)
		if err := r.limiter.WaitN(ctx, r.result.Replayed-before); err != nil && ctx.Err() == nil {
			return fmt.Errorf("keep the rate: %w", err)
		}
	}
}

// skip counts what stays of a batch that is done, and goes on behind it.
func (r *replay) skip(b batch) {
	r.next = b.end + 1
	r.result.Unreadable += b.unreadable
	for _, name := range b.noEndpoint {
		r.result.NoEndpoint[name]++
	}
	r.done(b.unreadable + len(b.noEndpoint))
}

// done counts letters that the filter meant, sent or not.
func (r *replay) done(n int) {
	r.matched += n
	if n > 0 && r.options.Progress != nil {
		r.options.Progress(r.matched)
	}
}

// count does all but send.
func (r *replay) count(ctx context.Context) error {
	for l, err := range r.All(ctx, r.filter) {
		if err != nil {
			return err
		}
		if l.Reason == "" {
			r.result.Unreadable++
			continue
		}
		lane, err := r.lane(ctx, l.Name())
		if err != nil {
			return err
		}
		if lane.exists {
			r.result.Replayed++
		} else {
			r.result.NoEndpoint[l.Name()]++
		}
	}
	return nil
}

// inForce returns a lane's name if there is such a lane, and otherwise the
// default's: nobody would read what is stored in one that is gone.
func (r *replay) inForce(ctx context.Context, name string) (string, error) {
	if name == streams.DefaultLane {
		return name, nil
	}
	lanes, _, err := r.options.Endpoints.Lanes(ctx)
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(lanes, func(l endpoint.Lane) bool { return l.ID == name && l.Until == 0 }) {
		return name, nil
	}
	return streams.DefaultLane, nil
}

// lane looks an endpoint up, once in a run.
func (r *replay) lane(ctx context.Context, name string) (lane, error) {
	if l, ok := r.lanes[name]; ok {
		return l, nil
	}
	var l lane
	var broken *endpoint.BrokenError
	document, err := r.options.Endpoints.Get(ctx, name)
	switch {
	case err == nil:
		l = lane{document.Lane, true, document.MadeAt}
		if l.name, err = r.inForce(ctx, document.Lane); err != nil {
			return lane{}, fmt.Errorf("look up the lane of endpoint %s: %w", name, err)
		}
	case errors.As(err, &broken):
		l = lane{name: endpoint.DefaultLane, exists: true} // it exists; replicas have its last good document
	case !errors.Is(err, endpoint.ErrNotFound):
		return lane{}, fmt.Errorf("look up endpoint %s: %w", name, err)
	}
	r.lanes[name] = l
	return l, nil
}
