package endpoint

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// events stands for the stream of events, at a sequence, and for the consumers
// of all ordered endpoints, which are there unless said otherwise.
type events struct {
	last     uint64
	unserved bool
	served   bool   // before it is asked for the second time
	asked    string // for which consumer, the last time
	stored   func() // when the last event was asked for
	now      time.Time
}

func (e *events) Last(context.Context) (uint64, error) {
	defer func() {
		if e.stored != nil {
			e.stored()
		}
	}()
	return e.last, nil
}

func (e *events) Now(context.Context) (time.Time, error) { return e.now, nil }

func (e *events) HasOrdered(_ context.Context, tenant, id string, patterns []string, since uint64) (bool, error) {
	e.asked = fmt.Sprint(tenant, "/", id, " ", patterns, " since ", since)
	defer func() { e.unserved = e.unserved && !e.served }()
	return !e.unserved, nil
}

func laneStore(t *testing.T) (jetstream.KeyValue, *Store, *events) {
	t.Helper()
	kv, at := newBucket(t), &events{}
	s := NewStore(kv, Events(at))
	s.madeWithin = 0
	return kv, s, at
}

func applyLane(t *testing.T, s *Store, l Lane) Applied {
	t.Helper()
	applied, err := s.ApplyLane(testContext(t), l)
	if err != nil {
		t.Fatal(err)
	}
	return applied
}

func theLanes(t *testing.T, s *Store) []Lane {
	t.Helper()
	lanes, broken, err := s.Lanes(testContext(t))
	if err != nil || len(broken) > 0 {
		t.Fatal(err, broken)
	}
	return lanes
}

func TestLaneValidate(t *testing.T) {
	for name, l := range map[string]Lane{
		"no filters":   {ID: "a", Weight: 1},
		"all filters":  {ID: "a-_9", Weight: 100, Filters: many(32, func(i int) string { return fmt.Sprintf("t%d.>", i) })},
		"covered":      {ID: "a", Weight: 1, Filters: []string{"acme.>", "acme.a.*", "acme.>"}},
		"disjoint":     {ID: "a", Weight: 1, Filters: []string{"*.a.b", "*.a", "acme.c.>"}},
		"everything":   {ID: "a", Weight: 1, Filters: []string{">"}},
		"every tenant": {ID: "a", Weight: 1, Filters: []string{"*.>"}},
	} {
		if err := l.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, tt := range []struct {
		want string
		lane Lane
	}{
		{"id: is required", Lane{Weight: 1}},
		{`id: "A" must be`, Lane{ID: "A", Weight: 1}},
		{`id: must not be "default"`, Lane{ID: "default", Weight: 1}},
		{"weight: must be from 1 to 100, not 0", Lane{ID: "a"}},
		{"weight: must be from 1 to 100, not 101", Lane{ID: "a", Weight: 101}},
		{"filters: must be at most 32 patterns, not 33", Lane{ID: "a", Weight: 1, Filters: many(33, func(i int) string { return fmt.Sprintf("t%d.>", i) })}},
		{"filters[0]: must not be empty", Lane{ID: "a", Weight: 1, Filters: []string{""}}},
		{`filters[0]: "acme" must be TENANT.TYPE`, Lane{ID: "a", Weight: 1, Filters: []string{"acme"}}},
		{`filters[0]: "*" must be TENANT.TYPE`, Lane{ID: "a", Weight: 1, Filters: []string{"*"}}},
		{`filters[1]: tenant "Acme" must be`, Lane{ID: "a", Weight: 1, Filters: []string{"a.b", "Acme.b"}}},
		{"filters[0]: \"a.b*\": token", Lane{ID: "a", Weight: 1, Filters: []string{"a.b*"}}},
		{`filters[1]: "a.b.*" and filters[0], "a.*.x", cross`, Lane{ID: "a", Weight: 1, Filters: []string{"a.*.x", "a.b.*"}}},
		{`filters[2]: "*.auth.>" and filters[1], "acme.>", cross`, Lane{ID: "a", Weight: 1, Filters: []string{"other.b", "acme.>", "*.auth.>"}}},
	} {
		if err := tt.lane.Validate(); err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %s alone", err, tt.want)
		}
	}
}

// A lane from its making to its end.
func TestApplyAndRemoveLane(t *testing.T) {
	kv, s, at := laneStore(t)
	ctx := testContext(t)
	at.last = 41
	gold := Lane{ID: "gold", Filters: []string{"*.auth.>", "*.b"}, Weight: 2}
	if applied := applyLane(t, s, gold); applied.Result != Created || applied.Name != "gold" || applied.Revision != 1 {
		t.Errorf("got %+v", applied)
	}
	applyLane(t, s, Lane{ID: "early", Weight: 1})
	at.last = 50
	gold.Filters = []string{"*.b", "*.auth.>"} // the same
	if applied := applyLane(t, s, gold); applied.Result != Unchanged || applied.Revision != 1 {
		t.Errorf("the same again: got %+v", applied)
	}
	gold.Weight = 3
	if applied := applyLane(t, s, gold); applied.Result != Updated || applied.Revision != 3 {
		t.Errorf("another weight: got %+v", applied)
	}
	gold.From = 42
	want := []Lane{{ID: "early", Weight: 1, From: 42}, gold}
	if got := theLanes(t, s); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if entry, err := kv.Get(ctx, "_lanes.gold"); err != nil || string(entry.Value()) != `{"id":"gold","filters":["*.b","*.auth.>"],"weight":3,"from":42}` {
		t.Errorf("stored is %s, %v", entry.Value(), err)
	}
	refused := func(want string, l Lane) {
		t.Helper()
		if _, err := s.ApplyLane(ctx, l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	refused("remove the lane", Lane{ID: "gold", Weight: 3, Filters: []string{"*.b"}})
	refused("weight: must", Lane{ID: "gold"})
	if err := s.DeleteLane(ctx, "gold"); err == nil || !strings.Contains(err.Error(), "in force") {
		t.Errorf("a lane in force was deleted: %v", err)
	}

	for _, last := range []uint64{60, 70} { // the second time changes nothing
		at.last = last
		if err := s.RemoveLane(ctx, "gold"); err != nil {
			t.Fatal(err)
		}
		if got := theLanes(t, s)[1].Until; got != 60 {
			t.Errorf("it ends with %d, want 60", got)
		}
	}
	refused("is being removed", gold)
	for range 2 { // by two workers
		if err := s.DeleteLane(ctx, "gold"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.RemoveLane(ctx, "erly"); !errors.Is(err, ErrNoLane) || !strings.Contains(err.Error(), "did you mean early?") {
		t.Errorf("got %v", err)
	}
	if applied := applyLane(t, s, gold); applied.Result != Created || theLanes(t, s)[1].From != 71 {
		t.Errorf("made anew: %+v, %+v", applied, theLanes(t, s))
	}
}

// Where there are no events yet, a removed lane is not one in force.
func TestRemoveLaneBeforeTheFirstEvent(t *testing.T) {
	_, s, _ := laneStore(t)
	applyLane(t, s, Lane{ID: "gold", Weight: 1})
	if err := s.RemoveLane(testContext(t), "gold"); err != nil {
		t.Fatal(err)
	}
	if l := theLanes(t, s)[0]; l.From != 1 || l.Until != 1 {
		t.Errorf("got %+v", l)
	}
}

func TestMostLanes(t *testing.T) {
	kv, s, _ := laneStore(t)
	put(t, kv, "_lanes.broken", "{}")
	for i := range MaxLanes - 1 {
		applyLane(t, s, Lane{ID: fmt.Sprint(i), Weight: 1})
	}
	if _, err := s.ApplyLane(testContext(t), Lane{ID: "more", Weight: 1}); err == nil || !strings.Contains(err.Error(), "there are 16 lanes") {
		t.Errorf("got %v", err)
	}
	if applied := applyLane(t, s, Lane{ID: "0", Weight: 2}); applied.Result != Updated {
		t.Errorf("a lane that is there: got %+v", applied)
	}
}

func TestLaneTakesTheStreamOfEvents(t *testing.T) {
	s := NewStore(newBucket(t))
	if _, err := s.ApplyLane(testContext(t), Lane{ID: "gold", Weight: 1}); !errors.Is(err, errNoEvents) {
		t.Errorf("got %v", err)
	}
	if got := theLanes(t, s); len(got) != 0 {
		t.Errorf("made %+v", got)
	}
}

// Lanes and endpoints share a bucket, and neither is taken for the other.
func TestLanesAreNoEndpoints(t *testing.T) {
	kv, s, _ := laneStore(t)
	ctx := testContext(t)
	applyLane(t, s, Lane{ID: "gold", Weight: 1})
	put(t, kv, "_lanes.broken", "{}")
	apply(t, s, testDocument())
	documents, broken, err := s.List(ctx)
	if err != nil || len(documents) != 1 || len(broken) != 0 {
		t.Errorf("listed %d endpoints, broken %v, %v", len(documents), broken, err)
	}
	lanes, broken, err := s.Lanes(ctx)
	if err != nil || len(lanes) != 1 || len(broken) != 1 || !strings.Contains(broken[0].Error(), "nats kv revert") {
		t.Errorf("listed lanes %v, broken %v, %v", lanes, broken, err)
	}
	for name, err := range map[string]error{
		"apply":  func() error { _, err := s.ApplyLane(ctx, Lane{ID: "broken", Weight: 1}); return err }(),
		"remove": s.RemoveLane(ctx, "broken"), "delete": s.DeleteLane(ctx, "broken"),
	} {
		if !errors.As(err, new(*BrokenError)) {
			t.Errorf("%s of a broken lane: %v", name, err)
		}
	}
	var notFound *NotFoundError
	if _, err := s.Get(ctx, "lanes/gold"); !errors.As(err, &notFound) || notFound.Nearest != "" {
		t.Errorf("got %v: a lane is suggested as an endpoint", err)
	}
}

func TestRegistryFollowsLanes(t *testing.T) {
	kv, s, at := laneStore(t)
	ctx := testContext(t)
	var log syncBuffer
	r := startRegistry(t, kv, &log)
	if r.Lanes() != nil || r.LaneOf("acme", "auth.x", 1) != "default" || r.HasLane("gold") || !r.HasLane("default") {
		t.Error("without lanes there is one beside the default")
	}
	at.last = 10
	applyLane(t, s, Lane{ID: "gold", Filters: []string{"*.auth.>"}, Weight: 1})
	applyLane(t, s, Lane{ID: "acme", Filters: []string{"acme.>"}, Weight: 5})
	await(t, r, "the lanes arrive", func() bool { return len(r.Lanes()) == 2 })
	if got := r.Lanes(); got[0].ID != "acme" || got[0].From != 11 || got[0].Weight != 5 || got[1].ID != "gold" || r.Len() != 0 {
		t.Errorf("got %+v, %d endpoints", got, r.Len())
	}
	laneOf := func(tenant, eventType string, seq uint64, want string) {
		t.Helper()
		if got := r.LaneOf(tenant, eventType, seq); got != want {
			t.Errorf("event %d of %s.%s is in lane %s, want %s", seq, tenant, eventType, got, want)
		}
	}
	laneOf("other", "auth.x", 10, "default")
	laneOf("other", "auth.x", 11, "gold")
	laneOf("other", "auth", 11, "default")
	laneOf("acme", "auth.x", 11, "acme")
	laneOf("other", "x", 11, "default")

	at.last = 20
	if err := s.RemoveLane(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the removal arrives", func() bool { return !r.HasLane("acme") })
	entry, err := kv.Get(ctx, laneKey("acme"))
	if err != nil {
		t.Fatal(err)
	}
	// The operator's clock may be anything; events have the server's time, too.
	if lane := r.Lanes()[0]; !lane.Removed.Equal(entry.Created()) {
		t.Errorf("removed at %s, want %s, when the server stored that", lane.Removed, entry.Created())
	}
	laneOf("acme", "x", 20, "acme")
	laneOf("acme", "x", 21, "default")
	laneOf("acme", "auth.x", 20, "acme")
	laneOf("acme", "auth.x", 21, "gold")
	if len(r.Lanes()) != 2 || !r.HasLane("gold") {
		t.Errorf("got %+v", r.Lanes())
	}

	put(t, kv, "_lanes.gold", `{"id":"gold","weight":0}`)
	await(t, r, "the broken lane arrives", func() bool { return r.BrokenLen() == 1 })
	laneOf("other", "auth.x", 11, "gold")
	if log.count(`"last_good_in_force":true`) != 1 {
		t.Errorf("got the log %s", log.b.String())
	}
	if err := s.DeleteLane(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the lane is gone", func() bool { return len(r.Lanes()) == 1 })
	laneOf("acme", "x", 20, "default")
}

// A new watch drops the lanes that went while nobody watched, and keeps the
// others as they were.
func TestRegistryReadsLanesAnew(t *testing.T) {
	r := NewRegistry(newBucket(t), zerolog.Nop())
	for _, id := range []string{"a", "b"} {
		l := &laneInForce{Lane: Lane{ID: id, Weight: 1}, revision: 7}
		r.apply([]change{{key: laneKey(id), lane: l, revision: 7}})
	}
	changed := r.Changed()
	r.retain(map[string]bool{laneKey("b"): true}, 8)
	if lanes := r.Lanes(); len(lanes) != 1 || lanes[0].ID != "b" {
		t.Errorf("got %+v", lanes)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told")
	}
	if !r.knows(change{key: laneKey("b"), revision: 7}) || r.knows(change{key: laneKey("b"), revision: 8}) {
		t.Error("a lane is not known by its revision")
	}
}

// LaneOf judges as the server does that filters the lane's consumer.
func TestLaneOfIsWhatNATSMatches(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		filter := []string{"acme", "other", "*"}[random.IntN(3)] + "." + randomPattern(random)
		l, err := compileLane(laneKey("gold"), fmt.Appendf(nil, `{"id":"gold","filters":[%q],"weight":1}`, filter))
		if err != nil {
			t.Fatal(err)
		}
		eventType := strings.Join(randomTokens(random, []string{"a", "b", "order", "other"}), ".")
		if got, want := l.has("acme", eventType, 1), server.SubjectMatchesFilter("acme."+eventType, filter); got != want {
			t.Fatalf("%s has acme.%s: %v, want %v", filter, eventType, got, want)
		}
	}
	all, err := compileLane(laneKey("all"), []byte(`{"id":"all","filters":[">"],"weight":1}`))
	if err != nil || !all.has("acme", "a.b", 1) || all.has("acme", "", 1) {
		t.Errorf("%v: > is not every event", err)
	}
}

func BenchmarkLaneOf(b *testing.B) {
	for _, n := range []int{0, 1, MaxLanes} {
		b.Run(fmt.Sprintf("lanes=%d", n), func(b *testing.B) {
			r := NewRegistry(newBucket(b), zerolog.Nop())
			for i := range n {
				l, err := compileLane(laneKey(fmt.Sprintf("l%d", i)), fmt.Appendf(nil, `{"id":"l%d","filters":["*.x%d.>"],"weight":1}`, i, i))
				if err != nil {
					b.Fatal(err)
				}
				r.replaceLane(laneKey(l.ID), l)
			}
			b.ReportAllocs()
			for b.Loop() {
				if r.LaneOf("acme", "order.created", 7) != DefaultLane {
					b.Fatal("not the default lane")
				}
			}
		})
	}
}
