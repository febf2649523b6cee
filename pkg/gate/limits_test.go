package gate

import (
	"math"
	"testing"
)

// The shares of all replicas together stay within what the endpoint bears, or
// are one each, and waste less than one a replica.
func TestShare(t *testing.T) {
	for replicas := -1; replicas <= 40; replicas++ {
		for _, most := range []int{0, 1, 2, 7, 64, 1000} {
			n := max(1, replicas)
			l := Share(50, most, most, replicas)
			if math.Abs(l.PerSecond*float64(n)-50) > 1e-9 {
				t.Errorf("%d replicas send %v/s together, want 50", n, l.PerSecond*float64(n))
			}
			for _, part := range []int{l.Burst, l.MaxInFlight} {
				if part < 1 || part > 1 && part*n > most || (part+1)*n <= most {
					t.Errorf("%d of %d for each of %d replicas", part, most, n)
				}
			}
		}
	}
}

// The zero answer and the zero vital do no harm.
func TestZeroValues(t *testing.T) {
	var l Leave
	var v Vital
	if l == Go || l == Open || v.Fault != Neutral {
		t.Errorf("zero values are %v and %v", l, v)
	}
}
