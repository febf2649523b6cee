package endpoint

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestMaxPerTenant(t *testing.T) {
	kv := newBucket(t)
	s := NewStore(kv, MaxPerTenant(3))
	of := func(tenant string, i int) Document {
		d := testDocument()
		d.Tenant, d.ID = tenant, fmt.Sprintf("e%d", i)
		return d
	}
	refused := func(s *Store, d Document) {
		t.Helper()
		_, err := s.Apply(testContext(t), d)
		if err == nil || !strings.Contains(err.Error(), "tenant "+d.Tenant+" has 3 endpoints already") || !strings.Contains(err.Error(), "JETHOOK_TENANT_ENDPOINTS") {
			t.Errorf("%s: got %v", d.Name(), err)
		}
	}
	for i := range 3 {
		apply(t, s, of("acme", i))
		apply(t, s, of("globex", i))
	}
	refused(s, of("acme", 3))
	refused(NewStore(kv, MaxPerTenant(3)), of("globex", 3))
	apply(t, s, of("initech", 0)) // each tenant has its own
	changed := of("acme", 1)
	changed.Description = "changed"
	if applied := apply(t, s, changed); applied.Result != Updated {
		t.Errorf("one that is there: %+v", applied)
	}
	// Room that somebody else made counts at once, and so does what somebody else
	// makes in the last place.
	other := NewStore(kv)
	if err := other.Remove(testContext(t), "acme/e0"); err != nil {
		t.Fatal(err)
	}
	apply(t, s, of("acme", 3))
	refused(s, of("acme", 4))
	apply(t, other, of("acme", 4))
	changed = of("acme", 4)
	changed.Description = "one more than there can be stays as it is"
	apply(t, s, changed)
	put(t, kv, "acme.broken", "{}")
	if _, err := s.Apply(testContext(t), of("acme", 5)); err == nil || !strings.Contains(err.Error(), "3 endpoints already") {
		t.Errorf("got %v", err)
	}
}

// Nothing is counted for what is there already.
func TestTenantsAreCountedForNewOnesOnly(t *testing.T) {
	kv := newBucket(t)
	apply(t, NewStore(kv), testDocument())
	s := NewStore(kv, MaxPerTenant(1))
	apply(t, s, testDocument())
	if len(s.tenants.groups) > 0 {
		t.Error("counted for one that is there")
	}
}

// A file of many reads the bucket once.
func TestTenantsAreCountedOnceForMany(t *testing.T) {
	s := NewStore(newBucket(t), MaxPerTenant(100))
	for i := range 20 {
		apply(t, s, numberedDocument(i))
	}
	first := s.tenants.groups["tenant-1"]
	if len(s.tenants.groups) != 2 || len(first.names) != 10 {
		t.Errorf("counted are %v", s.tenants.groups)
	}
	more := numberedDocument(19)
	more.ID = "more"
	apply(t, s, more)
	if first.at.IsZero() || s.tenants.groups["tenant-1"].at != first.at {
		t.Error("counted again")
	}
	first.at = first.at.Add(-recount)
	s.tenants.groups["tenant-1"] = first
	more.ID = "late"
	apply(t, s, more)
	if time.Since(s.tenants.groups["tenant-1"].at) > recount {
		t.Error("an old count serves")
	}
}
