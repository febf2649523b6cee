package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/receiver"
	"jethook/streams"
)

func TestAReplayThatIsKilledGoesOnAndSendsNothingTwice(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url)
	_, js := connect(t, server.url)
	broken, mended := newSink(t, receiver.Options{Status: http.StatusBadRequest}), newSink(t, receiver.Options{})
	apply(t, server.url, fmt.Sprintf(persistent, broken.url), r)
	const letters = 8000
	publish(t, js, "order.paid", "dead", letters)
	eventually(t, "every event is a dead letter", func() error {
		n, err := stored(js, "WEBHOOKS_DLQ")
		if err == nil && n < letters {
			err = fmt.Errorf("%d of %d", n, letters)
		}
		return err
	})
	apply(t, server.url, fmt.Sprintf(persistent, mended.url), r)

	// Each fact is a moment in a batch's way: stored with its mark, removed from
	// the dead letters (by the replay itself, or by one that finishes the batch of
	// another), and some batches later.
	type fact struct {
		what     string
		happened func(before moment) bool
	}
	isStored := fact{"a batch is stored", func(before moment) bool { return before.marks != marks(t, js) }}
	isRemoved := fact{"a dead letter is removed", func(before moment) bool { return before.left > inDLQ(t, js) }}
	halfAre := fact{"half are removed", func(before moment) bool { return before.left/2 > inDLQ(t, js) }}
	kills := []fact{isStored, isRemoved, isStored, isRemoved, halfAre}
	for _, fact := range kills {
		before := moment{inDLQ(t, js), marks(t, js)}
		p := start(t, append(environment(), "NATS_URL="+server.url), jethookBinary, "replay", "--yes", "--rate", "1000")
		until(t, fact.what, func() bool { return fact.happened(before) }, p)
		p.kill()
		t.Logf("killed when %s: of %d dead letters %d are left", fact.what, before.left, inDLQ(t, js))
	}
	if inDLQ(t, js) == 0 {
		t.Error("no dead letter is left for the last replay: this shows little")
	}
	t.Log(must(t, server.url, "replay", "--yes"))
	if copies := everyEventArrived(t, js, mended, "dead", letters); copies > 0 {
		t.Errorf("%d copies after %d kills", copies, len(kills))
	}
	if n := mended.Stats().Requests; n != letters {
		t.Errorf("%d requests for %d dead letters", n, letters)
	}
}

// until looks without a pause until a fact holds, while a process runs.
func until(t *testing.T, what string, happened func() bool, p *process) {
	t.Helper()
	for !happened() {
		select {
		case <-p.done:
			if happened() {
				return
			}
			t.Fatalf("the process ended before %s: %s", what, p.log)
		default:
		}
	}
}

// moment is what was there when a replay began.
type moment struct {
	left  uint64 // dead letters
	marks string
}

// marks names the batches of replays that are stored and not finished.
func marks(t *testing.T, js jetstream.JetStream) string {
	t.Helper()
	names, err := streams.NewNames("webhooks")
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(context.Background(), names.Deliveries())
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(context.Background(), jetstream.WithSubjectFilter(names.ReplayMark("*")))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(slices.Sorted(maps.Keys(info.State.Subjects)))
}

func inDLQ(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	n, err := stored(js, "WEBHOOKS_DLQ")
	if err != nil {
		t.Fatal(err)
	}
	return n
}
