package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// reread is how often InForce reads the bucket anew. A replica that was killed
// leaves it without a word when its last heartbeat has aged out.
const reread = time.Second

// errInForce ends a watch when all is as it should be.
var errInForce = errors.New("every live replica has it in force")

// InForce waits until every live replica has the revision of the endpoints'
// bucket in force, and returns the IDs, sorted, of those that had not when ctx
// ended. Without replicas it returns at once. It needs nothing but the bucket,
// which forgets the heartbeats of a dead replica by itself. The error says
// that the replicas could not be read; the IDs are then those read last.
func InForce(ctx context.Context, kv jetstream.KeyValue, revision uint64) (behind []string, err error) {
	v := view{revision: revision}
	failed := errors.New("there was no time for it")
	for {
		err := v.read(ctx, kv)
		switch {
		case errors.Is(err, errInForce):
			return nil, nil
		case v.loaded:
			failed = nil
		case errors.Is(err, nats.ErrStreamNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
			return nil, fmt.Errorf("the bucket %s of the replicas is not there: make it with jethook streams apply", kv.Bucket())
		case ctx.Err() == nil:
			failed = err
		}
		select {
		case <-ctx.Done():
			if failed != nil {
				failed = fmt.Errorf("read the replicas in bucket %s: %w", kv.Bucket(), failed)
			}
			return slices.Sorted(maps.Keys(v.behind)), failed
		case <-time.After(coalesce):
		}
	}
}

// errListed ends a watch when all replicas are read.
var errListed = errors.New("every live replica is read")

// List returns the live replicas that the bucket knows of, sorted by ID, to one
// that is none of them. One that was killed some seconds ago may be among them.
func List(ctx context.Context, kv jetstream.KeyValue) ([]Member, error) {
	found := make(map[string]Member)
	take := func(entry jetstream.KeyValueEntry) error {
		switch {
		case entry == nil:
			return errListed
		case entry.Operation() == jetstream.KeyValuePut:
			found[entry.Key()] = memberOf(entry)
		default:
			delete(found, entry.Key())
		}
		return nil
	}
	if err := watch(ctx, kv, take, func() error { return nil }); !errors.Is(err, errListed) {
		return nil, fmt.Errorf("read the replicas in bucket %s: %w", kv.Bucket(), err)
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Member) int { return strings.Compare(a.ID, b.ID) }), nil
}

// view is what InForce sees of the replicas.
type view struct {
	revision uint64
	behind   map[string]bool
	loaded   bool // by the last read
}

// read follows the bucket for a while. What it finds replaces what was found
// before as soon as it is complete.
func (v *view) read(ctx context.Context, kv jetstream.KeyValue) error {
	ctx, cancel := context.WithTimeout(ctx, reread)
	defer cancel()
	v.loaded = false
	behind := make(map[string]bool)
	take := func(entry jetstream.KeyValueEntry) error {
		switch {
		case entry == nil:
			v.behind, v.loaded = behind, true
		case entry.Operation() == jetstream.KeyValuePut && memberOf(entry).Endpoints < v.revision:
			behind[entry.Key()] = true
		default:
			delete(behind, entry.Key())
		}
		if v.loaded && len(behind) == 0 {
			return errInForce
		}
		return nil
	}
	return watch(ctx, kv, take, func() error { return nil })
}
