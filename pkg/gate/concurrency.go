package gate

import "time"

const (
	// startLimit is how many at a time an endpoint gets of which nothing is
	// known.
	startLimit = 8
	// halving is the time within which a limit is halved once at most: what
	// fails together says one thing.
	halving = 100 * time.Millisecond
	// patience is how long a fresh delivery waits for others to end. It is
	// short, because it waits in a slot.
	patience = 20 * time.Millisecond
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
}

// begin starts to learn from a limit on.
func (c *concurrency) begin(limit int) {
	*c = concurrency{limit: float64(limit), between: patience / instant(limit)}
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
		c.between += (max(0, at-max(c.last, c.full)) - c.between) / 4
	}
	c.last = at
	c.pardon = max(0, c.pardon-1)
}

// worthwhile reports whether the one behind so many others can expect its turn
// before its patience ends.
func (c *concurrency) worthwhile(at instant, others int) bool {
	pace := max(c.between, at-max(c.last, c.full))
	return instant(others+1)*pace <= patience
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
