package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Lease is one replica's right to probe an endpoint. No other has one for the
// same endpoint before it ends, unless the gate was closed and opened anew.
type Lease struct {
	// Name is the endpoint's, TENANT/ENDPOINT.
	Name string
	// Ends is when it ends by the clock of the replica that has it.
	Ends time.Time
	// Opened is the gate's record as it was claimed.
	Opened Opened

	revision uint64
}

// rounds bounds how often a write is tried again that another one overtook.
const rounds = 10

var errOvertaken = fmt.Errorf("other replicas wrote in between %d times", rounds)

// Open opens an endpoint's gate for all replicas. If another has opened it, its
// record stays as it is. The caller tries again after an error; until then no
// replica may know, or all of them.
func (f *Fleet) Open(ctx context.Context, name string, o Opened) error {
	o.Prober, o.LeaseEnds = "", time.Time{}
	data, err := f.encode(o)
	if err != nil {
		return fmt.Errorf("open the gate of %s: %w", name, err)
	}
	for range rounds {
		revision, err := f.kv.Create(ctx, gateKey(name), data)
		if err == nil {
			f.put(name, o, revision)
			return nil
		}
		if !overtaken(err) {
			return fmt.Errorf("open the gate of %s: %w", name, err)
		}
		switch m, err := f.reread(ctx, name, 0); {
		case err != nil:
			return fmt.Errorf("open the gate of %s: %w", name, err)
		case !m.closed:
			return nil
		}
	}
	return fmt.Errorf("open the gate of %s: %w", name, errOvertaken)
}

// Claim asks for the lease of the next probe, by the document at a revision, and
// reports whether this replica has it: one replica at a time has, and none before
// the probe is due. A replica that dies with it holds up the others until it ends.
func (f *Fleet) Claim(ctx context.Context, name string, document uint64, lease time.Duration) (Lease, bool, error) {
	// Before the write: what another replica counts from begins later.
	now := f.now()
	f.mu.RLock()
	m, found := f.marks[name]
	f.mu.RUnlock()
	if !found || m.closed || now.Before(m.opened.Due(document)) {
		return Lease{}, false, nil
	}
	next := m.opened
	next.Prober, next.LeaseEnds = f.self, now.Add(lease)
	revision, err := f.replace(ctx, name, next, m.revision)
	switch {
	case err != nil:
		return Lease{}, false, fmt.Errorf("claim the probe of %s: %w", name, err)
	case revision == 0:
		return Lease{}, false, nil
	}
	return Lease{Name: name, Ends: next.LeaseEnds, Opened: next, revision: revision}, true, nil
}

// Failed says that the probe failed: next becomes the gate's record, with the
// time of the next probe, and the lease ends. Where the lease was lost, because
// it had ended or the gate was closed, what is there stays.
func (f *Fleet) Failed(ctx context.Context, l Lease, next Opened) error {
	next.Prober, next.LeaseEnds = "", time.Time{}
	if _, err := f.replace(ctx, l.Name, next, l.revision); err != nil {
		return fmt.Errorf("store the failed probe of %s: %w", l.Name, err)
	}
	return nil
}

// Release gives the lease back for a probe that was not made. Another replica
// may claim it at once.
func (f *Fleet) Release(ctx context.Context, l Lease) error {
	next := l.Opened
	next.Prober, next.LeaseEnds = "", time.Time{}
	if _, err := f.replace(ctx, l.Name, next, l.revision); err != nil {
		return fmt.Errorf("release the probe of %s: %w", l.Name, err)
	}
	return nil
}

// Close closes the gate for all replicas, whoever has the lease: the endpoint
// works. Closing one that is closed is no error.
func (f *Fleet) Close(ctx context.Context, name string) error {
	f.mu.RLock()
	m, found := f.marks[name]
	f.mu.RUnlock()
	for range rounds {
		if !found || m.closed {
			var err error
			if m, err = f.reread(ctx, name, m.revision); err != nil {
				return fmt.Errorf("close the gate of %s: %w", name, err)
			}
			if m.closed {
				return nil
			}
		}
		err := f.kv.Delete(ctx, gateKey(name), jetstream.LastRevision(m.revision))
		if err == nil {
			f.closed(name, m.revision, false)
			return nil
		}
		if !overtaken(err) {
			return fmt.Errorf("close the gate of %s: %w", name, err)
		}
		found = false
	}
	return fmt.Errorf("close the gate of %s: %w", name, errOvertaken)
}

// replace writes a record in the place of that at a revision and returns its
// own, or 0 if that is not the last one any more. What is there then is read.
func (f *Fleet) replace(ctx context.Context, name string, o Opened, last uint64) (uint64, error) {
	data, err := f.encode(o)
	if err != nil {
		return 0, err
	}
	revision, err := f.kv.Update(ctx, gateKey(name), data, last)
	switch {
	case err == nil:
		f.put(name, o, revision)
		return revision, nil
	case overtaken(err):
		_, err := f.reread(ctx, name, last)
		return 0, err
	}
	return 0, err
}

// reread makes known what the bucket says of a gate, and returns it. Where it
// says nothing, the record known at a revision was the last.
func (f *Fleet) reread(ctx context.Context, name string, known uint64) (mark, error) {
	entry, err := f.kv.Get(ctx, gateKey(name))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		f.closed(name, known, false)
		return mark{revision: known, closed: true}, nil
	case err != nil:
		return mark{}, err
	}
	o := f.decode(entry, f.stored(entry))
	f.put(name, o, entry.Revision())
	return mark{opened: o, revision: entry.Revision()}, nil
}

func (f *Fleet) encode(o Opened) ([]byte, error) {
	return json.Marshal(record{Opened: o, Written: f.now()})
}

// overtaken reports whether a write was refused because of another one.
func overtaken(err error) bool {
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) || errors.Is(err, jetstream.ErrKeyExists) {
		return true
	}
	// What a replicated bucket answers to Create, where it follows a removal.
	refused, ok := errors.AsType[*jetstream.APIError](err)
	return ok && refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}
