package endpoint

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// recount is how long a count of endpoints serves.
const recount = time.Minute

// tally is the endpoints of each group as they were counted last, and those that this
// store made since: a file of many reads the bucket once for all of a group.
type tally struct {
	mu     sync.Mutex
	groups map[string]counted
}

type counted struct {
	names map[string]bool
	at    time.Time
}

// take takes a place for a name among the most that its group can have, unless it
// has one. It is refused by a fresh count only: others may have given up theirs.
func (t *tally) take(group, name string, most int, count func() (map[string]bool, error)) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.groups[group]
	room := func() bool { return c.names[name] || len(c.names) < most }
	if time.Since(c.at) > recount || !room() {
		names, err := count()
		if err != nil {
			return false, err
		}
		c = counted{names, time.Now()}
		if t.groups == nil {
			t.groups = make(map[string]counted)
		}
		t.groups[group] = c
	}
	if !room() {
		return false, nil
	}
	c.names[name] = true
	return true, nil
}

// MaxPerTenant bounds how many endpoints of a tenant Apply makes. Those that are
// there can be changed whatever their number. Stores that make some at the same
// time can make a few more. 0, the default, is no bound.
func MaxPerTenant(n int) StoreOption { return func(s *Store) { s.maxPerTenant = n } }

// roomFor takes a place for a new endpoint of a tenant.
func (s *Store) roomFor(ctx context.Context, tenant, name string) error {
	if s.maxPerTenant == 0 {
		return nil
	}
	taken, err := s.tenants.take(tenant, name, s.maxPerTenant, func() (map[string]bool, error) {
		names := make(map[string]bool)
		err := s.eachOf(ctx, documentKey(tenant, "*"), func(entry jetstream.KeyValueEntry) { names[nameOf(entry.Key())] = true }, jetstream.MetaOnly())
		return names, err
	})
	if err != nil {
		return fmt.Errorf("count the tenant's endpoints: %w", err)
	}
	if !taken {
		return fmt.Errorf("tenant %s has %d endpoints already, the most there can be (JETHOOK_TENANT_ENDPOINTS): remove one first", tenant, s.maxPerTenant)
	}
	return nil
}
