package notify

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/streams"
)

var settings = Settings{After: 30 * time.Second, Every: 5 * time.Minute}

// story is an endpoint whose facts change, looked at by virtual time.
type story struct {
	*testing.T
	s      Settings
	now    time.Time
	record Record
	facts  Facts
	said   []Word
}

func newStory(t *testing.T) *story {
	s := &story{T: t, s: settings, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	s.facts = Facts{Name: "acme/crm", URL: "https://example.com/crm", WellSince: s.now}
	return s
}

// look looks at the endpoint, and then whenever it asked to be looked at up to
// now.
func (s *story) look() {
	s.Helper()
	s.step(s.now)
}

func (s *story) step(now time.Time) (look time.Time) {
	s.Helper()
	f := s.facts
	f.Now = now
	// What is stored is read by another replica.
	data, err := json.Marshal(s.record)
	if err != nil {
		s.Fatal(err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		s.Fatal(err)
	}
	var words []Word
	s.record, words, look = r.Step(s.s, f)
	s.facts.Deaths = Deaths{}
	for _, w := range words {
		w.At = now
		s.said = append(s.said, w)
	}
	if !look.IsZero() && !look.After(now) {
		s.Fatalf("it asks to be looked at at %s, which is not after %s", look, now)
	}
	return look
}

// pass lets time pass, in which it is looked at when it asked for that.
func (s *story) pass(d time.Duration) {
	s.Helper()
	end := s.now.Add(d)
	for look := s.step(s.now); !look.IsZero() && !look.After(end); look = s.step(s.now) {
		s.now = look
	}
	s.now = end
	s.look()
}

func (s *story) goDown() {
	s.facts.Outage, s.facts.WellSince = &Outage{Since: s.now, Why: "5 failures in a row", LastStatus: 503, LastError: "5xx"}, time.Time{}
}

func (s *story) comeUp() { s.facts.Outage, s.facts.WellSince = nil, s.now }

func (s *story) bury(n int, reason delivery.Reason) {
	for range n {
		s.facts.Deaths = s.facts.Deaths.and(one(Death{EventID: fmt.Sprintf("e%d", s.now.UnixNano()), EventType: "order.created", Reason: reason, Attempts: 3, At: s.now}))
	}
}

// tells fails unless just these types were said since it was last asked.
func (s *story) tells(types ...string) []Word {
	s.Helper()
	var got []string
	for _, w := range s.said {
		got = append(got, w.Type)
	}
	if !slices.Equal(got, types) {
		s.Fatalf("it tells %q, want %q", got, types)
	}
	words := s.said
	s.said = nil
	return words
}

func TestAnOutageIsToldOfWhenItLastsAndWhenItIsOverForGood(t *testing.T) {
	s := newStory(t)
	s.pass(time.Hour)
	s.tells()
	s.goDown()
	began := s.now
	s.pass(29 * time.Second)
	s.tells()
	s.facts.Outage.Probes = 4
	s.pass(time.Second)
	w := s.tells(streams.EndpointFailing)[0]
	if !w.Since.Equal(began) || w.Why != "5 failures in a row" || w.LastStatus != 503 || w.LastError != "5xx" || w.Probes != 4 || w.URL != s.facts.URL {
		t.Errorf("it says %+v", w)
	}
	s.pass(24 * time.Hour)
	s.tells()
	s.comeUp()
	s.pass(20 * time.Second)
	s.goDown() // it was not well for long
	s.pass(time.Hour)
	s.tells()
	s.comeUp()
	ended := s.now
	s.pass(30 * time.Second)
	w = s.tells(streams.EndpointRecovered)[0]
	if !w.Since.Equal(began) || !w.Until.Equal(ended) {
		t.Errorf("it says %+v", w)
	}
	s.pass(24 * time.Hour)
	s.tells()
}

func TestWhatIsShortIsNotToldOf(t *testing.T) {
	s := newStory(t)
	for range 100 {
		s.goDown()
		s.pass(29 * time.Second)
		s.comeUp()
		s.pass(time.Minute)
	}
	s.tells()
}

func TestAFlappingEndpointYieldsADigest(t *testing.T) {
	s := newStory(t)
	flap := func() {
		s.goDown()
		s.pass(time.Minute)
		s.comeUp()
		s.pass(time.Minute)
	}
	for range 3 {
		flap()
	}
	s.tells(streams.EndpointFailing, streams.EndpointRecovered, streams.EndpointFailing, streams.EndpointRecovered, streams.EndpointFailing, streams.EndpointRecovered)
	for range 20 {
		flap()
	}
	s.goDown()
	s.pass(10 * time.Minute)
	s.tells()
	s.pass(time.Hour - 50*time.Minute)
	w := s.tells(streams.EndpointFailing)[0]
	if w.Flapping == nil || w.Flapping.Changes != 41 {
		t.Errorf("the digest is %+v, %+v", w, w.Flapping)
	}
	s.comeUp()
	s.pass(59 * time.Minute)
	s.tells()
	s.pass(2 * time.Minute)
	if w := s.tells(streams.EndpointRecovered)[0]; w.Flapping == nil || w.Flapping.Changes != 1 {
		t.Errorf("the digest is %+v", w)
	}
	s.pass(2 * time.Hour)
	s.tells()
	flap() // calm since an hour: each is told of again
	s.tells(streams.EndpointFailing, streams.EndpointRecovered)
}

func TestADisabledEndpointIsToldOfOnceAndNotAsFailing(t *testing.T) {
	s := newStory(t)
	s.goDown()
	s.facts.Disabled = &Disablement{At: s.now, Why: "the receiver answered 410 Gone"}
	s.pass(time.Hour)
	if w := s.tells(streams.EndpointDisabled)[0]; w.Why != "the receiver answered 410 Gone" || !w.Since.Equal(s.facts.Disabled.At) {
		t.Errorf("it says %+v", w)
	}
	s.facts.Disabled = nil
	s.pass(time.Minute)
	s.tells(streams.EndpointFailing)
	s.facts.Disabled = &Disablement{At: s.now}
	s.comeUp()
	s.pass(time.Minute)
	s.tells(streams.EndpointDisabled)
	s.facts.Disabled = nil
	s.pass(time.Minute)
	s.tells(streams.EndpointRecovered)
	s.facts.Disabled = &Disablement{At: s.now.Add(-2 * time.Hour)}
	s.pass(time.Hour)
	s.tells()
}

func TestDeadLettersAreToldOfAtOnceAndThenTogether(t *testing.T) {
	s := newStory(t)
	s.bury(1, delivery.Rejected)
	s.look()
	w := s.tells(streams.DeliveryDead)[0]
	if w.Count != 1 || w.Reason != delivery.Rejected || w.Attempts != 3 || w.EventType != "order.created" || w.EventID == "" || len(w.Events) != 1 {
		t.Errorf("it says %+v", w)
	}
	for range 60 {
		s.bury(2, delivery.Expired)
		s.bury(1, delivery.Rejected)
		s.pass(4 * time.Second)
	}
	s.tells()
	s.pass(time.Minute)
	w = s.tells(streams.DeliveryDead)[0]
	if w.Count != 180 || w.Reasons[delivery.Expired] != 120 || w.Reasons[delivery.Rejected] != 60 || len(w.Events) != MaxDeaths {
		t.Errorf("it says %+v", w)
	}
	s.pass(time.Hour)
	s.tells()
	s.bury(1, delivery.Expired)
	s.look()
	s.tells(streams.DeliveryDead)
}

// A replica whose clock is ahead silences nobody until it is that late.
func TestDeadLettersAreToldOfThoughAClockIsAhead(t *testing.T) {
	s := newStory(t)
	s.now = s.now.Add(6 * time.Hour)
	s.bury(1, delivery.Rejected)
	s.look()
	s.tells(streams.DeliveryDead)
	s.now = s.now.Add(-6 * time.Hour)
	s.bury(1, delivery.Rejected)
	s.look()
	s.tells()
	s.pass(s.s.Every)
	s.tells(streams.DeliveryDead)
}

// Whatever an endpoint does: no storm, nobody is left with what is not so, and no
// dead letter is forgotten.
func TestWhateverHappensThereIsNoStormAndTheLastWordIsTrue(t *testing.T) {
	for seed := range uint64(80) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := newStory(t)
		scale := []time.Duration{time.Second, 30 * time.Second, 10 * time.Minute}[random.IntN(3)]
		buried, ends := 0, random.IntN(2) == 0
		for range 300 {
			switch random.IntN(6) {
			case 0, 1:
				if s.facts.Outage == nil {
					s.goDown()
				}
			case 2, 3:
				if s.facts.Outage != nil {
					s.comeUp()
				}
			case 4:
				n := random.IntN(20)
				s.bury(n, delivery.Reasons()[random.IntN(3)])
				buried += n
			case 5:
				if s.facts.Disabled = nil; random.IntN(5) == 0 {
					s.facts.Disabled = &Disablement{At: s.now}
				}
			}
			s.pass(time.Duration(random.Float64() * float64(scale)))
		}
		s.facts.Disabled = nil
		if s.comeUp(); ends {
			s.goDown()
		}
		s.pass(3 * time.Hour)
		check(t, fmt.Sprintf("seed %d", seed), s.said, buried, ends)
	}
}

func check(t *testing.T, story string, said []Word, buried int, down bool) {
	t.Helper()
	var health, dead []time.Time
	ids := map[string]bool{}
	failing := false
	for _, w := range said {
		if ids[w.ID()] {
			t.Fatalf("%s: %s is said twice under one id", story, w.Type)
		}
		ids[w.ID()] = true
		switch w.Type {
		case streams.EndpointFailing, streams.EndpointRecovered:
			if was := failing; w.Flapping == nil && was == (w.Type == streams.EndpointFailing) {
				t.Fatalf("%s: %s is said when that was so before", story, w.Type)
			}
			failing = w.Type == streams.EndpointFailing
			health = append(health, w.At)
		case streams.DeliveryDead:
			buried -= w.Count
			dead = append(dead, w.At)
		}
	}
	if failing != down {
		t.Fatalf("%s: the last word says that it fails: %v, and that is %v", story, failing, down)
	}
	if buried != 0 {
		t.Fatalf("%s: %d dead letters are not told of", story, buried)
	}
	for i := range health {
		if j := i + mostChanges; j < len(health) && health[j].Sub(health[i]) < settings.hour() {
			t.Fatalf("%s: more than %d words within %s", story, mostChanges, health[j].Sub(health[i]))
		}
	}
	for i := 1; i < len(dead); i++ {
		if dead[i].Sub(dead[i-1]) < settings.Every {
			t.Fatalf("%s: dead letters are told of twice within %s", story, dead[i].Sub(dead[i-1]))
		}
	}
}

// Two replicas that look at the same facts and the same record say the same.
func TestWhoeverLooksSaysItUnderTheSameID(t *testing.T) {
	s := newStory(t)
	s.goDown()
	s.bury(1, delivery.Rejected)
	s.facts.Now = s.now.Add(time.Minute)
	_, a, _ := s.record.Step(s.s, s.facts)
	s.facts.Now = s.now.Add(61 * time.Second)
	_, b, _ := s.record.Step(s.s, s.facts)
	if len(a) != 2 || len(b) != 2 || a[0].ID() != b[0].ID() || a[1].ID() != b[1].ID() || a[0].ID() == a[1].ID() {
		t.Errorf("they say %v and %v", a, b)
	}
}
