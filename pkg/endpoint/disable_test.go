package endpoint

import "testing"

func TestRegistryKnowsDisabled(t *testing.T) {
	kv, s, _ := laneStore(t)
	var log syncBuffer
	r := startRegistry(t, kv, &log)
	d := testDocument()
	apply(t, s, d)
	known := func(n int, what string) {
		t.Helper()
		await(t, r, what, func() bool { return r.Len() == 1 && len(r.Disabled()) == n })
	}
	known(0, "it is there and enabled")
	if _, err := s.Disable(testContext(t), d.Name(), "410 Gone"); err != nil {
		t.Fatal(err)
	}
	known(1, "it is disabled")
	if got := r.Disabled()[0]; got != r.Get(d.Tenant, d.ID) || got.Disabled.Reason != "410 Gone" {
		t.Errorf("got %s: %+v", got.Name(), got.Disabled)
	}
	d.Description = "changed"
	apply(t, s, d)
	await(t, r, "it is changed and still disabled", func() bool { return len(r.Disabled()) == 1 && r.Disabled()[0].Description == "changed" })
	if _, err := s.Update(testContext(t), d.Name(), func(d *Document) error { d.Disabled = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	known(0, "it is enabled")
	if _, err := s.Disable(testContext(t), d.Name(), "410 Gone"); err != nil {
		t.Fatal(err)
	}
	known(1, "it is disabled again")
	if err := s.Remove(testContext(t), d.Name()); err != nil {
		t.Fatal(err)
	}
	await(t, r, "it is gone", func() bool { return r.Len() == 0 && len(r.Disabled()) == 0 })
}

func TestTheReasonIsPlainWithoutWhatAReceiverAnswered(t *testing.T) {
	for reason, want := range map[string]string{
		"the receiver answered 410 Gone": "the receiver answered 410 Gone",
		"event e could not be delivered (rejected after 2 attempts" + Quote + "CANARY" + Quote + ") CANARY) and holds those behind it; `x` tries it again": "event e could not be delivered (rejected after 2 attempts) and holds those behind it",
	} {
		if got := (Disabled{Reason: reason}).Plain(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
