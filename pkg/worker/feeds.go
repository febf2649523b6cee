package worker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"jethook/pkg/hold"
)

const (
	// feedsOfAll is how many feeds all replicas together have open at a time, at
	// most: by default the server has a thousand consumers for a stream, those of
	// lanes among them, and each makes every ack dearer.
	feedsOfAll = 512
	// openFor is how long a feed stays open at least when others want its place:
	// to open one costs the server, in a cluster 65 ms where a fetch takes 0.4.
	openFor = time.Second
	// openAgain is when to try again to open a feed that could not be opened.
	openAgain = time.Second
)

// errNoPlace is returned when so many feeds are open that there can be no more.
var errNoPlace = errors.New("too many feeds are open")

// feeds are those that this replica has open. One stays open while its endpoint
// waits for its rate or its attempts, until another needs its place. The server
// removes what nobody reads for half a minute.
type feeds struct {
	store *hold.Store
	most  func() int // may be open

	mu     sync.Mutex
	open   map[string]*openFeed // by TENANT/ENDPOINT
	failed time.Time            // when one could not be opened
	lack   map[string]time.Time // when one found no place: by tenant, or "" for all
}

type openFeed struct {
	feed  *hold.Feed
	since time.Time
	close time.Time // not before
	busy  bool
}

func newFeeds(store *hold.Store, replicas func() int) *feeds {
	return &feeds{store: store, open: make(map[string]*openFeed), lack: make(map[string]time.Time),
		most: func() int { return max(1, feedsOfAll/max(1, replicas())) }}
}

// largest returns how many of so many places one tenant may have.
func largest(places int) int { return max(1, places*3/4) }

// take returns the feed of an endpoint, which is the caller's until leave or
// gone. Where there is no place for it, another is closed that is not in use.
func (f *feeds) take(ctx context.Context, tenant, id string) (*hold.Feed, error) {
	name := tenant + "/" + id
	for range 3 { // whether one is in use is a question to the server
		f.mu.Lock()
		if o := f.open[name]; o != nil {
			o.busy = true
			f.mu.Unlock()
			return o.feed, nil
		}
		other, ok := f.place(tenant, time.Now())
		if !ok {
			f.mu.Unlock()
			break
		}
		now := time.Now()
		mine, old := &openFeed{since: now, close: now.Add(openFor), busy: true}, f.open[other]
		delete(f.open, other)
		f.open[name] = mine
		f.mu.Unlock()
		if old != nil && !f.close(ctx, other, old) {
			f.gone(name)
			continue
		}
		var err error
		if mine.feed, err = f.store.Feed(ctx, tenant, id); err != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.open, name)
			f.failed = time.Now()
			return nil, err
		}
		return mine.feed, nil
	}
	f.lacks(tenant)
	return nil, errNoPlace
}

// lacks says that there is no place for a tenant's feed.
func (f *feeds) lacks(tenant string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lack[f.among(tenant)] = time.Now()
}

// among returns the tenant among whose feeds there must be place for one more,
// because there are as many as it may have, or "" for all. The caller holds the
// mutex.
func (f *feeds) among(tenant string) string {
	n := 0
	for name := range f.open {
		if isOf(name, tenant) {
			n++
		}
	}
	if n < largest(f.most()) {
		return ""
	}
	return tenant
}

// place reports whether a tenant's feed may be opened, and which is to be closed
// for it. The caller holds the mutex.
func (f *feeds) place(tenant string, now time.Time) (other string, ok bool) {
	if now.Sub(f.failed) < openAgain {
		return "", false
	}
	among := f.among(tenant)
	if among == "" && len(f.open) < f.most() {
		return "", true
	}
	other = f.unused(among, now)
	return other, other != ""
}

// unused returns any feed that can be closed, of a tenant if one is given. The
// caller holds the mutex.
func (f *feeds) unused(tenant string, now time.Time) string {
	for name, o := range f.open {
		if !o.busy && !now.Before(o.close) && (tenant == "" || isOf(name, tenant)) {
			return name
		}
	}
	return ""
}

func isOf(name, tenant string) bool {
	of, _, _ := strings.Cut(name, "/")
	return of == tenant
}

// close closes a feed that was taken out, unless attempts of what it handed out
// are under way, here or elsewhere: then it is open still.
func (f *feeds) close(ctx context.Context, name string, o *openFeed) bool {
	closed, err := o.feed.Close(ctx)
	if closed || errors.Is(err, hold.ErrFeedGone) {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[name] == nil {
		o.close = time.Now().Add(openFor)
		f.open[name] = o
	}
	return false
}

// leave says that a feed is not in use for now.
func (f *feeds) leave(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.open[name]; o != nil {
		o.busy = false
	}
}

// gone says that a feed is open no more.
func (f *feeds) gone(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, name)
}

// scarce reports whether a feed found no place lately.
func (f *feeds) scarce(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for of, at := range f.lack {
		if now.Sub(at) > 2*openAgain {
			delete(f.lack, of)
		}
	}
	return len(f.lack) > 0
}

// rests reports whether an endpoint is to begin no more attempts for now: its
// feed was open for a turn, others have no place, and it can be closed when those
// under way have ended.
func (f *feeds) rests(tenant, id string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.open[tenant+"/"+id]
	return o != nil && now.Sub(o.since) >= turn &&
		(now.Sub(f.lack[tenant]) <= 2*openAgain || now.Sub(f.lack[""]) <= 2*openAgain)
}

// trim closes feeds that are too many since replicas joined.
func (f *feeds) trim(ctx context.Context) {
	for {
		f.mu.Lock()
		name := ""
		if len(f.open) > f.most() {
			name = f.unused("", time.Now())
		}
		o := f.open[name]
		delete(f.open, name)
		f.mu.Unlock()
		if o == nil {
			return
		}
		f.close(ctx, name, o)
	}
}
