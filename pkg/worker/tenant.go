package worker

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"jethook/pkg/endpoint"
	"jethook/pkg/gate"
)

// tenants are the token buckets of a lane's tenants: so many deliveries of each
// may have their first attempt per second. A nil one has no limit, as all its
// buckets. One tenant's flood then waits where it harms nobody, among what is
// held, and not in the stream of events ahead of everybody.
type tenants struct {
	perSecond float64 // of each tenant, from all replicas together
	replicas  func() int
	mu        sync.RWMutex
	all       map[string]*bucket
}

func newTenants(perSecond float64, replicas func() int) *tenants {
	if perSecond <= 0 {
		return nil
	}
	return &tenants{perSecond: perSecond, replicas: replicas, all: make(map[string]*bucket)}
}

// bucket is a tenant's share of its rate in this replica. It lets a second's
// worth go at once.
type bucket struct {
	of       *tenants
	used     atomic.Bool // since it was swept last
	mu       sync.Mutex
	replicas int
	tokens   *rate.Limiter
	behind   time.Time // until when new deliveries stand behind those that wait
}

const (
	// catchUp is for how long new deliveries stand behind those that wait, since
	// one had to: a feed that fetches finds its tokens left for it.
	catchUp = time.Second
	// turnBatch is how much of the rate a feed gets at a time.
	turnBatch = 20 * time.Millisecond
)

// tenantOf returns the bucket from which an endpoint's deliveries are paid, nil
// where there is no limit.
func (w *Worker) tenantOf(ep *endpoint.Endpoint) *bucket {
	if w.tenantRate <= 0 {
		return nil
	}
	l := w.home(ep)
	if l == nil {
		return nil
	}
	return l.tenants.bucket(ep.Tenant)
}

func (t *tenants) bucket(tenant string) *bucket {
	t.mu.RLock()
	b := t.all[tenant]
	if b != nil {
		b.used.Store(true) // within the lock, which keeps it from being swept
	}
	t.mu.RUnlock()
	if b != nil {
		return b
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if b = t.all[tenant]; b == nil {
		b = &bucket{of: t, replicas: t.replicas()}
		share := t.share(b.replicas)
		b.tokens = rate.NewLimiter(rate.Limit(share.PerSecond), share.Burst)
		t.all[strings.Clone(tenant)] = b
	}
	b.used.Store(true)
	return b
}

func (t *tenants) share(replicas int) gate.Limits {
	return gate.Share(t.perSecond, int(min(t.perSecond, 1<<30)), 0, replicas)
}

// sweep drops the buckets that have nothing to remember: none was used since
// the last sweep, and all its tokens are there.
func (t *tenants) sweep() {
	if t == nil {
		return
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for tenant, b := range t.all {
		if !b.used.Swap(false) && b.rested(now) {
			delete(t.all, tenant)
		}
	}
}

// now locks the bucket and brings it to the present.
func (b *bucket) now() time.Time {
	b.mu.Lock()
	now := time.Now()
	if n := b.of.replicas(); n != b.replicas {
		b.replicas = n
		share := b.of.share(n)
		b.tokens.SetLimitAt(now, rate.Limit(share.PerSecond))
		b.tokens.SetBurstAt(now, share.Burst)
	}
	return now
}

// allow takes a token for a new delivery, if there is one and nobody waits for
// it.
func (b *bucket) allow() bool { return b == nil || b.grant(1) }

// lacks reports whether allow would take none.
func (b *bucket) lacks() bool { return b != nil && !b.grant(0) }

func (b *bucket) grant(n int) bool {
	now := b.now()
	defer b.mu.Unlock()
	if now.Before(b.behind) {
		return false
	}
	if b.tokens.TokensAt(now) >= 1 {
		return b.tokens.AllowN(now, n)
	}
	b.behind = now.Add(catchUp)
	return false
}

// ticket is tokens that were taken for when they are due. Its zero value is
// none.
type ticket struct {
	from *bucket
	n    int
	due  time.Time
}

// reserve takes up to want tokens for those that wait. Whoever comes first is
// due first, so that no endpoint of a tenant starves another.
func (b *bucket) reserve(want int) ticket {
	if b == nil {
		return ticket{n: want}
	}
	now := b.now()
	defer b.mu.Unlock()
	n := max(1, min(want, b.tokens.Burst(), int(float64(b.tokens.Limit())*turnBatch.Seconds())))
	wait := b.tokens.ReserveN(now, n).DelayFrom(now)
	if wait > 0 {
		b.behind = now.Add(min(wait, catchUp) + catchUp)
	}
	return ticket{b, n, now.Add(wait)}
}

// refund gives n tokens back that were not used. Those of others stay due when
// they were. To take a negative number is what does that: a reservation can
// only be cancelled before its time, and whole.
func (b *bucket) refund(n int) {
	if b == nil || n == 0 {
		return
	}
	now := b.now()
	defer b.mu.Unlock()
	b.tokens.ReserveN(now, -n)
}

// refund gives n of the ticket's tokens back.
func (t ticket) refund(n int) { t.from.refund(n) }

// rested reports whether the bucket would be the same if it were forgotten.
func (b *bucket) rested(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !now.Before(b.behind) && b.tokens.TokensAt(now) >= float64(b.tokens.Burst())
}
