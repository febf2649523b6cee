package gate

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

var testNop = zerolog.Nop()

func TestInterval(t *testing.T) {
	t.Parallel()
	low, high := func() float64 { return 0 }, func() float64 { return math.Nextafter(1, 0) }
	for _, probes := range []int{-1, 0, 1, 2, 5, 10, 20, 21, 22, 30, 1000, math.MaxInt} {
		want := min(math.Pow(1.25, math.Max(float64(probes), 0)), 120)
		least, most := Interval(probes, 0, low).Seconds(), Interval(probes, 0, high).Seconds()
		if math.Abs(least-want*0.9) > 1e-6 || math.Abs(most-min(want*1.1, 120)) > 1e-6 {
			t.Errorf("after %d probes: %v to %v, want about %v", probes, least, most, want)
		}
	}
	if got := Interval(0, time.Hour, low); got != time.Hour {
		t.Errorf("asked for an hour, got %s", got)
	}
	if got := Interval(30, time.Second, high); got < 119*time.Second {
		t.Errorf("asked for less, got %s", got)
	}
}

// A replica whose clock is wrong by far sees the same spans of time.
func TestTimesAreThoseOfTheReader(t *testing.T) {
	t.Parallel()
	written := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	data, err := json.Marshal(record{Written: written, Opened: Opened{
		Since: written.Add(-time.Hour), NextProbe: written.Add(time.Minute), Prober: "a", LeaseEnds: written.Add(time.Second),
	}})
	if err != nil {
		t.Fatal(err)
	}
	here := time.Now()
	o, err := decodeOpened(data, here, here.Add(-10*time.Second)) // loaded 10 s after it was written
	if err != nil || !o.NextProbe.Equal(here.Add(50*time.Second)) || !o.LeaseEnds.Equal(here.Add(time.Second)) {
		t.Errorf("%v: next probe in %s, the lease ends in %s", err, o.NextProbe.Sub(here), o.LeaseEnds.Sub(here))
	}
	if !o.Since.Equal(written.Add(-time.Hour)) || o.Prober != "a" {
		t.Errorf("got %+v", o)
	}
}

// A probe is due when the last one said, or at once by a document that is newer than
// the one it was made by.
func TestDue(t *testing.T) {
	t.Parallel()
	next, ends := time.Now().Add(time.Hour), time.Now().Add(time.Minute)
	for name, c := range map[string]struct {
		o        Opened
		document uint64
		want     time.Time
	}{
		"the same document":   {Opened{NextProbe: next, Document: 5}, 5, next},
		"an older one":        {Opened{NextProbe: next, Document: 5}, 4, next}, // another replica has heard of a newer one
		"a newer one":         {Opened{NextProbe: next, Document: 5}, 6, time.Time{}},
		"nobody wrote which":  {Opened{NextProbe: next}, 6, next},
		"one is being probed": {Opened{NextProbe: next, Document: 5, Prober: "a", LeaseEnds: ends}, 6, ends},
	} {
		if got := c.o.Due(c.document); !got.Equal(c.want) {
			t.Errorf("%s: due %s, want %s", name, got, c.want)
		}
	}
}
