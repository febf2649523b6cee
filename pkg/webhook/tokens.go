package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"sync"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
)

const (
	// renewBefore is how long before its end a token is replaced, at most: the
	// request that it goes with takes time, and clocks differ.
	renewBefore = 30 * time.Second
	// minKept is how long a token is used at least, whatever the server says: one
	// fetched for each request would be a flood.
	minKept = time.Second
	// maxKept is how long a token is used of which the server does not say when it
	// ends.
	maxKept = time.Hour
	// maxLife is up to when a token is believed to be good: servers that say more
	// mean "for ever", or miscount.
	maxLife = 30 * 24 * time.Hour
	// minRefused is the age from which a token that a receiver refuses is
	// replaced. A receiver that refuses each would make it one fetch for each
	// request.
	minRefused = 10 * time.Second
	// minBackoff and maxBackoff bound how long an authorization server is left
	// alone that gave no token. Requests fail meanwhile without asking.
	minBackoff = time.Second
	maxBackoff = 30 * time.Second
	// maxTokens bounds the tokens that are kept, and idleToken the time for which
	// one is that nobody asks for.
	maxTokens = 10_000
	idleToken = time.Hour
)

// tokens keeps the tokens of all endpoints. Those with the same credentials share
// one, and one request at a time asks for it.
type tokens struct {
	ask func(context.Context, *endpoint.OAuth2) (token, error)

	mu     sync.Mutex
	grants map[grantKey]*grant
	swept  time.Time
}

// grantKey stands for credentials and what is asked for with them.
type grantKey [sha256.Size]byte

// grant is what is known of one token.
type grant struct {
	token token // none if it has no text; its end is known
	got   time.Time
	renew time.Time // when to ask for the next one, before the end

	asking   chan struct{} // closed when who asks has an answer; nil: nobody asks
	err      error         // of the last time
	failures int           // in a row
	again    time.Time     // not to be asked for before

	used time.Time
}

func newTokens(ask func(context.Context, *endpoint.OAuth2) (token, error)) *tokens {
	return &tokens{ask: ask, grants: make(map[grantKey]*grant)}
}

// get returns a token: the one that is kept, or one that is asked for within ctx.
// The error is an *unsent.
func (t *tokens) get(ctx context.Context, o *endpoint.OAuth2) (string, error) {
	key := keyOf(o)
	for {
		t.mu.Lock()
		now := time.Now()
		g := t.at(key, now)
		text, err, found := g.known(now)
		asking := g.asking
		if !found && asking == nil {
			g.asking = make(chan struct{})
		}
		t.mu.Unlock()
		switch {
		case found:
			return text, err
		case asking == nil:
			return t.fetch(ctx, g, o)
		}
		select {
		case <-asking: // who asked may have been canceled, and then somebody else is to
		case <-ctx.Done():
			return "", late(ctx, o)
		}
	}
}

// known returns what is to be returned without asking, if that is anything. Until
// its end, a token serves those who do not renew it.
func (g *grant) known(now time.Time) (text string, err error, found bool) {
	waiting := now.Before(g.again)
	switch {
	case now.Before(g.renew), now.Before(g.token.end) && (waiting || g.asking != nil):
		return g.token.text, nil, true
	case waiting:
		return "", g.err, true
	}
	return "", nil, false
}

// fetch asks for the token of a grant, for everybody.
func (t *tokens) fetch(ctx context.Context, g *grant, o *endpoint.OAuth2) (string, error) {
	got, err := t.ask(ctx, o)
	t.mu.Lock()
	defer t.mu.Unlock()
	close(g.asking)
	g.asking = nil
	now := time.Now()
	if err == nil {
		g.keep(got, now)
		return got.text, nil
	}
	if e, ok := errors.AsType[*unsent](err); ok && e.fault == delivery.FaultInterrupted {
		return "", err // it says nothing about the server
	}
	g.err, g.again = err, now.Add(min(minBackoff<<min(g.failures, 10), maxBackoff))
	g.failures++
	if now.Before(g.token.end) {
		return g.token.text, nil
	}
	return "", err
}

func (g *grant) keep(got token, now time.Time) {
	if got.end.IsZero() {
		got.end = now.Add(maxKept)
	}
	life := min(got.end.Sub(now), maxLife)
	g.token, g.got = got, now
	g.renew = now.Add(max(life-min(renewBefore, life/4), minKept))
	g.err, g.failures, g.again = nil, 0, time.Time{}
}

// refused drops a token that a receiver refused, and reports whether it is worth
// to try another one.
func (t *tokens) refused(o *endpoint.OAuth2, text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.grants[keyOf(o)]
	if g == nil || g.token.text != text {
		return true // it was dropped already
	}
	if time.Since(g.got) < minRefused {
		return false
	}
	g.token, g.renew = token{}, time.Time{}
	return true
}

// at returns the grant of a key and makes room for it.
func (t *tokens) at(key grantKey, now time.Time) *grant {
	if now.Sub(t.swept) > idleToken/10 {
		t.swept = now
		maps.DeleteFunc(t.grants, func(_ grantKey, g *grant) bool { return now.Sub(g.used) > idleToken })
	}
	g := t.grants[key]
	if g == nil {
		if len(t.grants) >= maxTokens {
			t.evict()
		}
		g = &grant{}
		t.grants[key] = g
	}
	g.used = now
	return g
}

// evict drops one grant: of some that the map names first, which are others each
// time, the one that was not used for longest.
func (t *tokens) evict() {
	var oldest grantKey
	seen := 0
	for key, g := range t.grants {
		if seen == 0 || g.used.Before(t.grants[oldest].used) {
			oldest = key
		}
		if seen++; seen == 8 {
			break
		}
	}
	delete(t.grants, oldest)
}

func keyOf(o *endpoint.OAuth2) (key grantKey) {
	h := sha256.New()
	for _, part := range append([]string{o.TokenURL, o.ClientID, o.ClientSecret.Reveal(), o.Audience}, o.Scopes...) {
		// The length before it: no two lists of parts are the same bytes.
		_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(part)))) // a hash never fails
		_, _ = h.Write([]byte(part))
	}
	h.Sum(key[:0])
	return key
}

// late is the error of who waited for a token that somebody else asks for.
func late(ctx context.Context, o *endpoint.OAuth2) *unsent {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return noToken(delivery.FaultTimeout, "timed out before "+host(o)+" answered")
	}
	return noToken(delivery.FaultInterrupted, "the wait for "+host(o)+" was canceled")
}
