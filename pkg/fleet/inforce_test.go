package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestInForce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if behind, err := InForce(w.ctx, w.kv, 9); len(behind) > 0 || err != nil {
		t.Errorf("without replicas: %v, %v", behind, err)
	}
	a, b, c := w.join("a"), w.join("b"), w.join("c")
	a.set(9)
	c.set(10)
	w.until("a and c have told", func() bool { all := a.Live(); return all[0].Endpoints == 9 && all[2].Endpoints == 10 })
	short, cancel := context.WithTimeout(w.ctx, 4*time.Second)
	defer cancel()
	if behind, err := InForce(short, w.kv, 9); !slices.Equal(behind, []string{"b"}) || err != nil {
		t.Errorf("with a slow one: %v, %v", behind, err)
	}

	done := make(chan struct{}, 1)
	go func() {
		behind, err := InForce(w.ctx, w.kv, 9)
		if len(behind) > 0 || err != nil {
			t.Errorf("got %v, %v", behind, err)
		}
		done <- struct{}{}
	}()
	b.set(8) // not enough
	w.until("that is known", func() bool { return a.Live()[1].Endpoints == 8 })
	if len(done) > 0 {
		t.Error("it did not wait for the slow one")
	}
	b.set(9)
	<-done

	a.set(100)
	c.set(100)
	slow := 0
	for n := range uint64(10) {
		b.set(n + 10)
		began := time.Now()
		if behind, err := InForce(w.ctx, w.kv, n+10); len(behind) > 0 || err != nil {
			t.Errorf("got %v, %v", behind, err)
		}
		if time.Since(began) > beatEvery/2 {
			slow++
		}
	}
	if slow > 5 { // with the heartbeats it would be all, and a machine that stands still delays a few
		t.Errorf("%d of ten were known as late as with a heartbeat", slow)
	}
}

func TestInForceForgetsTheDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.join("a")
	a.set(9)
	var took time.Duration
	for range 3 { // a machine may stand still
		b := w.join("b")
		began := time.Now()
		b.kill()
		if behind, err := InForce(w.ctx, w.kv, 9); len(behind) > 0 || err != nil {
			t.Errorf("got %v, %v", behind, err)
		}
		if took = time.Since(began); took <= 30*time.Second {
			break
		}
	}
	if took < 2*time.Second || took > 30*time.Second {
		t.Errorf("the dead one was forgotten after %s", took)
	}
}

func TestInForceWhereNothingCanBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(w.js.DeleteKeyValue(w.ctx, testBucket))
	if _, err := InForce(w.ctx, w.kv, 9); err == nil || w.ctx.Err() != nil {
		t.Errorf("without the bucket: %v", err)
	}
	w.shutdown()
	short, cancel := context.WithTimeout(w.ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := InForce(short, w.kv, 9); err == nil {
		t.Error("without the server: no error")
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if members, err := List(w.ctx, w.kv); len(members) > 0 || err != nil {
		t.Errorf("without replicas: %v, %v", members, err)
	}
	w.join("b")
	w.join("c").Leave(w.ctx)
	w.join("a")
	members, err := List(w.ctx, w.kv)
	if err != nil || len(members) != 2 || members[0].ID != "a" || members[1].Lanes[0] != "default" {
		t.Errorf("got %+v, %v", members, err)
	}
	w.must(w.js.DeleteKeyValue(w.ctx, testBucket))
	if _, err := List(w.ctx, w.kv); err == nil || w.ctx.Err() != nil {
		t.Errorf("without the bucket: %v", err)
	}
}

// A heartbeat that is written while the bucket is read shows no replica twice.
func TestListWhileAllBeat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(w.ctx)
	var beating sync.WaitGroup
	for i := range 20 {
		beat := func() error { _, err := w.kv.Put(ctx, fmt.Sprintf("r%02d", i), []byte("{}")); return err }
		w.must(beat())
		beating.Go(func() {
			for ctx.Err() == nil {
				if err := beat(); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	defer beating.Wait()
	defer cancel()
	for range 100 {
		all, err := List(ctx, w.kv)
		w.must(err)
		if distinct := slices.CompactFunc(slices.Clone(all), func(a, b Member) bool { return a.ID == b.ID }); len(distinct) != len(all) || len(all) == 0 {
			t.Fatalf("%d are listed, %d different ones", len(all), len(distinct))
		}
	}
}
