package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/endpoint"
)

// facts returns what is known of an endpoint now.
func (n *Notifier) facts(ep *endpoint.Endpoint) Facts {
	f := Facts{Now: n.now(), Name: ep.Name(), URL: ep.RedactedURL()}
	if d := ep.Disabled; d != nil {
		f.Disabled = &Disablement{At: d.At, Why: d.Plain()}
	}
	if o, open := n.Gates.Outage(ep.Name()); open {
		f.Outage = &o
		return f
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	since, found := n.well[ep.Name()]
	if !found {
		since = f.Now
		n.well[ep.Name()] = since
	}
	f.WellSince = since
	return f
}

// bucket opens the bucket of records, which is made again if it is not there.
func (n *Notifier) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := n.store.kv(ctx)
	if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return kv, err
	}
	if err := n.Restore(ctx); err != nil {
		return nil, fmt.Errorf("make bucket %s again: %w", n.store.bucket, err)
	}
	return n.store.kv(ctx)
}

// rounds bounds how often a record is written anew that another replica wrote
// meanwhile.
const rounds = 5

// review says what is to be said of an endpoint now.
func (n *Notifier) review(ctx context.Context, name string) (err error) {
	tenant, id, err := endpoint.ParseName(name)
	if err != nil {
		return nil //nolint:nilerr // not written by jethook
	}
	kv, err := n.bucket(ctx)
	if err != nil {
		return err
	}
	first := n.Rank(name) == 0
	ep := n.Endpoints.Get(tenant, id)
	if ep == nil {
		n.takeDeaths(name)
		n.settled(name, false, Record{}, time.Time{})
		if last, err := n.store.get(ctx, kv, name); !first || err != nil || last.revision == 0 {
			return err
		}
		return n.store.forget(ctx, kv, name)
	}
	deaths, kept := n.takeDeaths(name), false
	defer func() {
		if !kept {
			n.returnDeaths(name, deaths)
		}
	}()
	for range rounds {
		last, err := n.store.get(ctx, kv, name)
		if err != nil {
			return err
		}
		f := n.facts(ep)
		f.Deaths = deaths
		step := last.StepDead
		if first {
			step = last.Step
		}
		next, words, look := step(n.Settings, f)
		kept, err = n.say(ctx, kv, last, next, f, words)
		switch {
		case !kept && errors.Is(err, errOvertaken):
			continue
		case err != nil:
			return err
		}
		n.settled(name, first, next, look)
		return nil
	}
	return errOvertaken
}

// say stores a record with the words that are to be said, publishes them, and stores
// that they are said. So one replica decides what is said, and if it dies at that,
// another one says the same again, which NATS drops. kept says that the record, with
// the dead letters among the facts, is stored.
func (n *Notifier) say(ctx context.Context, kv jetstream.KeyValue, last stored, next Record, f Facts, words []Word) (kept bool, err error) {
	before := last.saying()
	if err := n.publish(ctx, before); err != nil {
		return false, err
	}
	if len(before)+len(words)+f.Deaths.Count == 0 && next.same(last.Record) {
		return true, nil
	}
	next.Saying = saying(words)
	revision, err := n.store.put(ctx, kv, f.Name, next, last.revision)
	if err != nil {
		return false, err
	}
	n.told(before)
	if len(words) == 0 {
		return true, nil
	}
	if err := n.publish(ctx, words); err != nil {
		return true, err
	}
	next.Saying = nil
	switch _, err := n.store.put(ctx, kv, f.Name, next, revision); {
	case errors.Is(err, errOvertaken):
		return true, nil // by one that found these words and said them too
	case err != nil:
		return true, err
	}
	n.told(words)
	return true, nil
}

func (n *Notifier) publish(ctx context.Context, words []Word) error {
	for _, w := range words {
		if err := Publish(ctx, n.JetStream, n.Names, w); err != nil {
			return err
		}
	}
	return nil
}

// told counts and logs words that a record says are said.
func (n *Notifier) told(words []Word) {
	for _, w := range words {
		n.Said(w.Type)
		n.Logger.Info().Str("endpoint", w.Endpoint).Str("type", w.Type).Msg("the endpoint's owner was told")
	}
}

// same reports whether two records differ in nothing that must be remembered.
func (r Record) same(other Record) bool {
	if (r.Down == nil) != (other.Down == nil) || (r.Digest == nil) != (other.Digest == nil) {
		return false
	}
	return (r.Digest == nil || *r.Digest == *other.Digest) && r.Disabled.Equal(other.Disabled)
}

// settled notes that an endpoint was looked at, and when to look again.
func (n *Notifier) settled(name string, first bool, r Record, look time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.seen, name)
	if first {
		n.seen[name] = true
	}
	delete(n.paced, name)
	if now := n.now(); r.Dead.Until.After(now) {
		n.paced[name] = earliest(r.Dead.Until, now.Add(countEvery))
	}
	if !first || r.Down == nil {
		delete(n.well, name) // nothing waits for it to be well
	}
	if !look.IsZero() {
		n.lookAt(name, look.Add(time.Duration(n.Rank(name))*behind))
	}
}

// countEvery is how often at most dead letters that wait to be told of are put into
// the record: where they come by the thousand, each would be a write.
const countEvery = 10 * time.Second

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// behind is by how much a replica leaves precedence to each that ranks before it.
const behind = time.Second
