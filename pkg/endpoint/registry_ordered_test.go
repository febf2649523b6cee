package endpoint

import "testing"

func TestRegistryKnowsOrdered(t *testing.T) {
	kv, s, _ := laneStore(t)
	var log syncBuffer
	r := startRegistry(t, kv, &log)
	d := testDocument()
	apply(t, s, d)
	known := func(n int, what string) {
		t.Helper()
		await(t, r, what, func() bool { return r.Len() == 1 && len(r.Ordered()) == n })
	}
	known(0, "it is there and not ordered")
	d.Ordered = true
	apply(t, s, d)
	known(1, "it is ordered")
	if got := r.Ordered()[0]; got.Name() != d.Name() || got != r.Get(d.Tenant, d.ID) {
		t.Errorf("got %s", got.Name())
	}
	d.Description = "changed"
	apply(t, s, d)
	await(t, r, "it is changed", func() bool { return r.Ordered()[0].Description == "changed" })
	d.Ordered = false
	apply(t, s, d)
	known(0, "it is not ordered any more")
	d.Ordered = true
	apply(t, s, d)
	known(1, "it is ordered again")
	if err := s.Remove(testContext(t), d.Name()); err != nil {
		t.Fatal(err)
	}
	await(t, r, "it is gone", func() bool { return r.Len() == 0 })
	if n := len(r.Ordered()); n != 0 {
		t.Errorf("%d are ordered that are gone", n)
	}
}
