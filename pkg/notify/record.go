package notify

import "time"

// Settings say how soon and how often something is said. Zero is the default.
type Settings struct {
	// After is for how long an endpoint must fail, or work again, before that is
	// said. DefaultAfter by default.
	After time.Duration
	// Every is how often at most dead letters of an endpoint are told of.
	// DefaultEvery by default.
	Every time.Duration
}

// The defaults of Settings.
const (
	DefaultAfter = 30 * time.Second
	DefaultEvery = 5 * time.Minute
)

func (s Settings) withDefaults() Settings {
	if s.After == 0 {
		s.After = DefaultAfter
	}
	if s.Every == 0 {
		s.Every = DefaultEvery
	}
	return s
}

// flappingOver is for how many times Every an endpoint is watched for flapping,
// and how often a flapping one is told of.
const flappingOver = 12

// mostChanges is how many changes are told of one by one in that time.
const mostChanges = 6

func (s Settings) hour() time.Duration { return flappingOver * s.Every }

// Facts are what is known of an endpoint now.
type Facts struct {
	Now       time.Time
	Name, URL string
	// Outage is there while the endpoint's gate is open.
	Outage *Outage
	// WellSince is since when the gate is closed, while it is.
	WellSince time.Time
	// Disabled is there while jethook has the endpoint disabled.
	Disabled *Disablement
	// Deaths are dead letters that no record has yet.
	Deaths Deaths
}

// Outage is an open gate.
type Outage struct {
	Since      time.Time `json:"since"`
	Why        string    `json:"why,omitempty"`
	Probes     int       `json:"probes,omitempty"`
	LastStatus int       `json:"last_status,omitempty"`
	LastError  string    `json:"last_error,omitempty"`
}

// Disablement says since when and why an endpoint is disabled, in jethook's own
// words.
type Disablement struct {
	At  time.Time
	Why string
}

// Record is what an endpoint's owner was told. The zero value is that of an
// endpoint of which nothing was ever said.
type Record struct {
	// Down is the outage that the endpoint has, in so far as it is over the
	// threshold of being told of; nil when the endpoint is well.
	Down *Outage `json:"down,omitempty"`
	// Changes are when that was last told of, oldest first.
	Changes []time.Time `json:"changes,omitempty"`
	// Digest is there while changes are not told of one by one.
	Digest *digest `json:"digest,omitempty"`
	// Disabled is the last disabling that was told of.
	Disabled time.Time `json:"disabled,omitzero"`
	// Dead are the dead letters that are still to be told of.
	Dead pendingDeaths `json:"dead,omitzero"`
	// Saying are words that the record counts as said, while they are published.
	Saying []said `json:"saying,omitempty"`
}

// said is a word with what it is known by.
type said struct {
	Word     Word   `json:"word"`
	Identity string `json:"identity"`
}

func saying(words []Word) (list []said) {
	for _, w := range words {
		list = append(list, said{w, w.identity})
	}
	return list
}

// saying returns the words that somebody may have died at.
func (r Record) saying() (words []Word) {
	for _, s := range r.Saying {
		w := s.Word
		w.identity = s.Identity
		words = append(words, w)
	}
	return words
}

// Step returns what is to be said now, the record once that is said, and when to
// look again even if nothing changes: zero is never. It changes nothing of r.
func (r Record) Step(s Settings, f Facts) (next Record, words []Word, look time.Time) {
	next = r
	next.Changes = within(r.Changes, f.Now.Add(-s.hour()))
	words, look = next.health(s, f)
	words = append(words, next.disabled(f)...)
	told, at := next.dead(s, f)
	return next, append(words, told...), earliest(look, at)
}

// StepDead is Step for dead letters alone, which any replica may see to.
func (r Record) StepDead(s Settings, f Facts) (next Record, words []Word, look time.Time) {
	next = r
	words, look = next.dead(s, f)
	return next, words, look
}

// within returns the times from a moment on, in a slice of their own.
func within(times []time.Time, from time.Time) (kept []time.Time) {
	for _, t := range times {
		if !t.Before(from) {
			kept = append(kept, t)
		}
	}
	return kept
}

// earliest returns the earlier of two times, where zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
