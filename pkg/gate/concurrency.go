package gate

import "time"

const (
	// startLimit is how many at a time an endpoint gets of which nothing is
	// known.
	startLimit = 8
	// halving is the time within which a limit is halved once at most: what
	// fails together says one thing.
	halving = 100 * time.Millisecond
	// patience is how long a fresh delivery may expect to wait for others to end.
	// It is short, because it waits in a slot.
	patience = 20 * time.Millisecond
	// longest is how long it waits before it gives the expectation up. It is longer,
	// because a machine that halts for some milliseconds halts everything, and to
	// hold all that waits then would double the work.
	longest = 5 * patience
	// memory is over about how many ends their pace is taken: over few, a hiccup
	// of a millisecond looks like an endpoint that became slow.
	memory = 32
	// startEnds is how many ends the guess is worth with which that begins.
	startEnds = 1
)

// concurrency learns how many attempts at a time an endpoint bears, and how
// quickly they end.
type concurrency struct {
	limit    float64 // a fraction counts towards the next
	additive bool    // the limit was halved: it grows slowly
	// credit is how many more successes let the limit grow. It is a round of
	// them whenever the limit was in the way, so that one that is not used
	// does not grow.
	credit  int
	halved  instant // when last
	pardon  int     // how many were under way then, and say nothing new
	full    instant // since when nothing more could go; 0: something can
	last    instant // when the last attempt ended
	between instant // mean time from one end to the next while full
	ends    int     // that it is the mean of, up to memory
}

// begin starts to learn from a limit on.
func (c *concurrency) begin(limit int) {
	*c = concurrency{limit: float64(limit), between: patience / instant(limit), ends: startEnds}
}

// refused notes that there was no room for one more.
func (c *concurrency) refused(at instant, byLimit bool) {
	if c.full == 0 {
		c.full = at
	}
	if byLimit {
		c.credit = int(c.limit)
	}
}

// ended notes the end of an attempt.
func (c *concurrency) ended(at instant) {
	if c.full != 0 {
		c.ends = min(c.ends+1, memory)
		c.between += (max(0, at-max(c.last, c.full)) - c.between) / instant(c.ends)
	}
	c.last = at
	c.pardon = max(0, c.pardon-1)
}

// worthwhile reports whether the one behind so many others can expect its turn
// before its patience ends. That nothing has ended for some milliseconds says
// little of the endpoint, and much of a machine with other things to do.
func (c *concurrency) worthwhile(at instant, others int) bool {
	return at-max(c.last, c.full) <= patience && instant(others+1)*c.between <= patience
}

// learn lets the limit follow what an attempt says. Those that go on are
// inFlight.
func (c *concurrency) learn(f Fault, at instant, most, inFlight int) {
	switch {
	case f == Overloaded && c.pardon == 0 && at-c.halved >= halving:
		c.limit = max(1, c.limit/2)
		c.additive, c.halved, c.pardon, c.credit = true, at, inFlight, 0
	case f == Alive && c.credit > 0:
		c.credit--
		if c.additive {
			c.limit += 1 / c.limit
		} else {
			c.limit++
		}
		c.limit = min(c.limit, float64(most))
	}
}
