package main

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/endpoint"
)

func TestRemoveLeavesWhatWaitsToTheReplicas(t *testing.T) {
	w := startStates(t)
	before := w.count(w.names.Deliveries())
	out, _ := w.run(exitDone, "endpoint", "remove", "acme/held", "--yes")
	contains(t, out, "acme/held removed\n", "dead letters (endpoint_deleted) of what waits: 3 deliveries")
	out, _ = w.run(exitDone, "endpoint", "remove", "acme/crm", "--waiting", "dead-letter")
	contains(t, out, "acme/crm removed\n", "3 deliveries")
	out, _ = w.run(exitDone, "endpoint", "remove", "acme/off", "--yes")
	if out != "acme/off removed\n" {
		t.Errorf("with nothing that waits: %q", out)
	}
	if after := w.count(w.names.Deliveries()); after != before {
		t.Errorf("%d of %d deliveries are left", after, before)
	}
	if w.exists("acme/held") || w.exists("acme/crm") || w.exists("acme/off") {
		t.Error("they are still there")
	}
}

func TestRemoveAsks(t *testing.T) {
	for name, c := range map[string]struct {
		endpoint, answers string
		exit              int
		removed           bool
		left              int
		says              []string
	}{
		"no":              {"acme/held", "n\n", exitFailed, false, 3, []string{"Remove acme/held? 3 deliveries wait for it. [y/N]", "nothing was removed"}},
		"nothing":         {"acme/held", "", exitFailed, false, 3, []string{"nothing was removed"}},
		"yes, by default": {"acme/held", "y\n\n", exitDone, true, 3, []string{"dead letters of what waits, or discard it?", "endpoint_deleted"}},
		"dead-letter":     {"acme/held", "y\ndead-letter\n", exitDone, true, 3, []string{"endpoint_deleted"}},
		"discard":         {"acme/held", "y\nDiscard\n", exitDone, true, 0, []string{"3 deliveries discarded"}},
		"neither":         {"acme/held", "y\ndelete\n", exitFailed, false, 3, []string{`"delete" is neither dead-letter nor discard`, "nothing was removed"}},
		"one":             {"acme/failing", "y\n\n", exitDone, true, 1, []string{"1 delivery waits for it."}},
		"nothing waits":   {"acme/off", "y\n", exitDone, true, 0, []string{"Remove acme/off? [y/N]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startStates(t)
			stdout, stderr := w.asked(c.answers, c.exit, "endpoint", "remove", c.endpoint)
			contains(t, stdout+stderr, c.says...)
			if w.exists(c.endpoint) == c.removed {
				t.Errorf("it is still there: %t", !c.removed)
			}
			if left := w.heldFor(c.endpoint); left != c.left {
				t.Errorf("%d deliveries are left, want %d", left, c.left)
			}
		})
	}
}

// Without an attempt log what waits is discarded all the same, and it is said that
// the audit does not know. Where the log only does not take it, nothing is.
func TestDiscardWithoutTheAttemptLog(t *testing.T) {
	w := startStates(t)
	s, err := w.js.Stream(w.ctx, w.names.Attempts())
	w.must(err)
	config := s.CachedInfo().Config
	config.MaxBytes, config.Discard = 1, jetstream.DiscardNew
	_, err = w.js.UpdateStream(w.ctx, config)
	w.must(err)
	_, errs := w.run(exitFailed, "endpoint", "remove", "acme/held", "--waiting", "discard")
	contains(t, errs, "maximum bytes exceeded", "0 deliveries discarded", "paused and not removed")
	w.must(w.js.DeleteStream(w.ctx, w.names.Attempts()))
	out, errs := w.run(exitDone, "endpoint", "remove", "acme/held", "--waiting", "discard")
	contains(t, out, "3 deliveries discarded", "acme/held removed")
	contains(t, errs, "audit will not know", "jethook streams apply")
	if w.exists("acme/held") || w.heldFor("acme/held") > 0 {
		t.Error("it is there still")
	}
}

func (w *world) heldFor(name string) int {
	w.Helper()
	tenant, id, _ := strings.Cut(name, "/")
	s, err := w.js.Stream(w.ctx, w.names.Deliveries())
	w.must(err)
	info, err := s.Info(w.ctx, jetstream.WithSubjectFilter(w.names.Held(tenant, id, "*")))
	w.must(err)
	n := 0
	for _, held := range info.State.Subjects {
		n += int(held)
	}
	return n
}

func TestRemoveIsWrongUsageWhereNobodyCanBeAsked(t *testing.T) {
	w := startStates(t)
	_, stderr := w.run(exitUsage, "endpoint", "remove", "acme/held")
	contains(t, stderr, "--yes")
	w.run(exitUsage, "endpoint", "remove", "acme/nobody") // said before anything is looked up
	_, stderr = w.run(exitUsage, "endpoint", "remove", "acme/held", "--waiting", "drop")
	contains(t, stderr, `"drop"`, "dead-letter", "discard")
	if !w.exists("acme/held") {
		t.Error("it was removed")
	}
	_, stderr = w.run(exitFailed, "endpoint", "remove", "acme/hedl", "--yes")
	contains(t, stderr, "did you mean acme/held?")
}

func TestDiscardTakesWhatStillComes(t *testing.T) {
	t.Parallel()
	w := startStates(t)
	w.lies(2, "acme/held", w.names.Scheduled("acme", "held", "evt_1", "e1"), 0)
	w.lies(1, "acme/held", w.names.Delivery("default", "acme", "held"), 0)
	others := w.count(w.names.Deliveries()) - 6
	out, errs := &demoOutput{}, &demoOutput{}
	ended := make(chan int, 1)
	go func() {
		ended <- run([]string{"--server", w.url, "endpoint", "remove", "acme/held", "--waiting", "discard"}, &app{In: strings.NewReader(""), Out: out, Err: errs, discardQuiet: 10 * time.Second})
	}()
	w.until("what waits is discarded", func() bool { return w.count(w.names.Deliveries()) == others })
	w.held(2, "acme/held", 0) // an attempt that was under way has failed
	if exit := <-ended; exit != exitDone || errs.String() != "" {
		t.Errorf("exit code %d: %s", exit, errs)
	}
	contains(t, out.String(), "acme/held removed\n8 deliveries discarded\n")
	if left := w.count(w.names.Deliveries()); left != others {
		t.Errorf("%d deliveries are left, want %d", left, others)
	}
	if w.exists("acme/held") {
		t.Error("it is still there")
	}
}

func TestDiscardPausesFirst(t *testing.T) {
	w := startStates(t)
	changes, err := w.bucket(w.names.EndpointsBucket()).Watch(w.ctx, "acme.crm", jetstream.UpdatesOnly())
	w.must(err)
	w.run(exitDone, "endpoint", "remove", "acme/crm", "--waiting", "discard")
	paused := <-changes.Updates()
	contains(t, string(paused.Value()), `"paused":true`)
	if removed := <-changes.Updates(); removed.Operation() != jetstream.KeyValuePurge {
		t.Errorf("then %s", removed.Operation())
	}
	w.must(changes.Stop())
}

func TestDiscardTakesWhatWaitsInOrder(t *testing.T) {
	t.Parallel()
	const quiet = 2 * time.Second
	w := startStates(t)
	out, errs := &demoOutput{}, &demoOutput{}
	ended := make(chan int, 1)
	go func() {
		ended <- run([]string{"--server", w.url, "endpoint", "remove", "acme/seq", "--waiting", "discard"}, &app{In: strings.NewReader(""), Out: out, Err: errs, discardQuiet: quiet})
	}()
	// What a replica does with an endpoint that is paused and not ordered any more.
	w.until("it is not ordered any more", func() bool {
		d, err := w.store.Get(w.ctx, "acme/seq")
		w.must(err)
		return d.Paused && !d.Ordered
	})
	select {
	case exit := <-ended:
		t.Fatalf("it ended with exit code %d while events wait in order", exit)
	case <-time.After(quiet * 3 / 2):
	}
	w.held(4, "acme/seq", 0)
	w.must(w.js.DeleteConsumer(w.ctx, w.names.Events(), inOrder))
	if exit := <-ended; exit != exitDone || errs.String() != "" {
		t.Errorf("exit code %d: %s", exit, errs)
	}
	contains(t, out.String(), "acme/seq removed\n4 deliveries discarded\n")
}

// What it was to get in order may wait still when it is not ordered any more.
func TestDiscardTakesWhatWaitedInOrder(t *testing.T) {
	t.Parallel()
	w := startStates(t)
	_, err := w.store.Update(w.ctx, "acme/seq", func(d *endpoint.Document) error {
		d.Ordered, d.OnFailure = false, ""
		return nil
	})
	w.must(err)
	_, stderr := w.run(exitFailed, "endpoint", "remove", "acme/seq", "--waiting", "discard") // without a replica
	contains(t, stderr, "4 deliveries more wait in order", "endpoint_deleted")
}

// However long it takes the replicas to bring what waits in order, none of it becomes
// a dead letter as long as they bring more.
func TestDiscardWaitsForWhatWaitsInOrder(t *testing.T) {
	t.Parallel()
	const quiet = 2 * time.Second
	w := startStates(t)
	out, errs := &demoOutput{}, &demoOutput{}
	ended := make(chan int, 1)
	go func() {
		ended <- run([]string{"--server", w.url, "endpoint", "remove", "acme/seq", "--waiting", "discard"}, &app{In: strings.NewReader(""), Out: out, Err: errs, discardQuiet: quiet})
	}()
	events, err := w.js.Stream(w.ctx, w.names.Events())
	w.must(err)
	const waiting, step = 4, discardTimes * quiet * 2 / 5
	for i := range waiting {
		select {
		case exit := <-ended:
			t.Fatalf("it ended with exit code %d while events wait in order", exit)
		case <-time.After(step): // altogether longer than what comes beside it has
		}
		w.held(1, "acme/seq", 0)
		w.must(events.Purge(w.ctx, jetstream.WithPurgeSequence(uint64(i+2)))) // one waits in order no more
	}
	if exit := <-ended; exit != exitDone || errs.String() != "" {
		t.Errorf("exit code %d: %s", exit, errs)
	}
	contains(t, out.String(), "acme/seq removed\n4 deliveries discarded\n")
}

func TestDiscardSaysWhatItLeaves(t *testing.T) {
	t.Parallel()
	w := startStates(t) // without a replica, which would bring what waits in order
	_, stderr := w.run(exitFailed, "endpoint", "remove", "acme/seq", "--waiting", "discard")
	contains(t, stderr, "4 deliveries more wait in order", "endpoint_deleted")
	if w.exists("acme/seq") {
		t.Error("it is still there")
	}
}

// What is scheduled does not wait for an endpoint that is made anew.
func TestRemoveBringsWhatIsScheduled(t *testing.T) {
	w := startStates(t)
	scheduled := w.names.Scheduled("acme", "held", "evt_1", "e1")
	w.lies(2, "acme/held", scheduled, 0)
	w.run(exitDone, "endpoint", "remove", "acme/held", "--yes")
	stream, err := w.js.Stream(w.ctx, w.names.Deliveries())
	w.must(err)
	for subject, want := range map[string]uint64{scheduled: 0, w.names.Delivery("default", "acme", "held"): 2} {
		info, err := stream.Info(w.ctx, jetstream.WithSubjectFilter(subject))
		w.must(err)
		if n := info.State.Subjects[subject]; n != want {
			t.Errorf("%d lie under %s, want %d", n, subject, want)
		}
	}
}

func TestABrokenEndpointCanBeRemoved(t *testing.T) {
	for _, what := range []string{waitingDeadLetter, waitingDiscard} {
		w := startWorld(t)
		_, err := w.bucket(w.names.EndpointsBucket()).PutString(w.ctx, "acme.crm", "{")
		w.must(err)
		w.held(1, "acme/crm", 0)
		out, _ := w.run(exitDone, "endpoint", "remove", "acme/crm", "--waiting", what)
		contains(t, out, "acme/crm removed", "1 delivery")
		if w.exists("acme/crm") {
			t.Error("it is still there")
		}
	}
}
