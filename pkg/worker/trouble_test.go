package worker

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// However many are in the same trouble, each waits for as long as it has
// lasted, within bounds, and the log gets a line a minute.
func TestTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := zerolog.New(&out)
		var tr trouble
		start := time.Now()
		var wg sync.WaitGroup
		for range 256 {
			wg.Go(func() {
				for tries := 1; ; tries++ {
					began := time.Now()
					tr.wait(t.Context(), log, errors.New("broken"), "trouble")
					waited, lasted := time.Since(began), began.Sub(start)
					low := min(max(lasted, firstDelay), lastDelay)
					if waited < low || waited > low+low/4 {
						t.Errorf("waited %v after %v of trouble, want %v and up to a quarter more", waited, lasted, low)
					}
					if time.Since(start) > 2*time.Minute {
						return
					}
				}
			})
		}
		wg.Wait()
		if got := tr.lasted(); got < 2*time.Minute {
			t.Errorf("lasted %v, want more than 2 minutes", got)
		}
		if got := strings.Count(out.String(), "trouble"); got < 2 || got > 3 {
			t.Errorf("%d lines in two minutes, want one a minute", got)
		}
		tr.over(log, "over")
		tr.over(log, "over")
		if got := strings.Count(out.String(), `"over"`); got != 1 {
			t.Errorf("the end was logged %d times, want once", got)
		}
		if tr.lasted() != 0 {
			t.Error("over, and yet it lasts")
		}
	})
}

// Trouble that comes and goes does not fill the log.
func TestTroubleFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := zerolog.New(&out)
		var tr trouble
		for range 100 {
			tr.wait(t.Context(), log, errors.New("broken"), "trouble")
			tr.over(log, "over")
		}
		if got := strings.Count(out.String(), "\n"); got > 2 {
			t.Errorf("%d lines in %s of flapping, want two", got, "10s")
		}
	})
}

func TestTroubleEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var tr trouble
		start := time.Now()
		tr.wait(ctx, zerolog.Nop(), errors.New("broken"), "trouble")
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v after the end", waited)
		}
	})
}
