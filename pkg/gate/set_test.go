package gate

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestOfReturnsTheSame(t *testing.T) {
	s := NewSet(64, alone)
	a, b := s.Of("acme/crm", wide), s.Of("acme/crm", Terms{MaxInFlight: 3})
	if a != b || a == s.Of("acme/crm2", wide) || s.Len() != 2 {
		t.Errorf("%p, %p, and %d gates", a, b, s.Len())
	}
	if n := enter(t, a, 10); n != 3 {
		t.Errorf("%d in flight under the new terms, want 3", n)
	}
}

// Sweep drops what has nothing to remember, and nothing else.
func TestSweepDropsTheIdle(t *testing.T) {
	slow := Terms{PerSecond: 1.0 / 600, Burst: 1, MaxInFlight: 8}
	tests := map[string]struct {
		terms Terms
		do    func(ctx context.Context, g *Gate)
		kept  time.Duration // 0: for ever
	}{
		"never used":  {wide, func(context.Context, *Gate) {}, time.Minute},
		"used":        {wide, func(ctx context.Context, g *Gate) { g.Enter(ctx); g.Done(Vital{Fault: Alive}) }, time.Minute},
		"in flight":   {wide, func(ctx context.Context, g *Gate) { g.Enter(ctx) }, 0},
		"open":        {wide, func(_ context.Context, g *Gate) { g.SetOpen(true) }, 0},
		"on the ramp": {wide, func(_ context.Context, g *Gate) { g.SetOpen(true); g.SetOpen(false) }, time.Minute},
		"failed":      {wide, func(ctx context.Context, g *Gate) { g.Enter(ctx); g.Done(Vital{Fault: Failing}) }, 6 * time.Hour},
		"recovered": {wide, func(ctx context.Context, g *Gate) {
			g.Enter(ctx)
			g.Done(Vital{Fault: Failing})
			g.Enter(ctx)
			g.Done(Vital{Fault: Alive})
		}, time.Minute},
		"has used up its rate": {slow, func(ctx context.Context, g *Gate) { g.Enter(ctx); g.Done(Vital{}) }, 10 * time.Minute},
		"is waited at":         {slow, func(ctx context.Context, g *Gate) { g.Enter(ctx); g.Done(Vital{}); go g.Take(ctx, 1) }, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s := NewSet(64, alone)
				tt.do(ctx, s.Of("acme/crm", tt.terms))
				start := time.Now()
				for s.Len() > 0 && time.Since(start) < 24*time.Hour {
					synctest.Wait()
					s.Sweep()
					pass(time.Second)
				}
				kept := time.Since(start).Round(time.Minute)
				if tt.kept == 0 && kept < 24*time.Hour || tt.kept > 0 && kept != tt.kept {
					t.Errorf("kept for %v, want %v", kept, tt.kept)
				}
				if s.Len() == 0 && len(s.tenants) > 0 {
					t.Error("the tenant is remembered")
				}
			})
		})
	}
}

// A gate that is used is not dropped, however long it lives.
func TestSweepKeepsTheUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSet(64, alone)
		g := s.Of("acme/crm", wide)
		s.Of("acme/idle", wide)
		for range 1000 {
			pass(20 * time.Second)
			s.Sweep()
			if s.Of("acme/crm", wide) != g {
				t.Fatal("dropped between two uses")
			}
		}
		if s.Len() != 1 {
			t.Errorf("%d gates, want the one that is used", s.Len())
		}
	})
}

// Sweeping among many that come and go leaves each with one gate.
func TestSweepAmongUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSet(1<<20, alone)
		done := make(chan struct{})
		for i := range 20 {
			go func() {
				defer func() { done <- struct{}{} }()
				for j := range 200 {
					g := s.Of(fmt.Sprintf("acme/%d", (i*j)%50), wide)
					if g.Enter(t.Context()) == Go {
						pass(time.Duration(i*j) * time.Millisecond)
						g.Done(Vital{Fault: Alive})
					}
					s.Sweep()
				}
			}()
		}
		for range 20 {
			<-done
		}
		pass(3 * time.Minute)
		s.Sweep()
		pass(time.Minute)
		s.Sweep()
		if s.Len() != 0 || s.InFlight() != 0 {
			t.Errorf("%d gates and %d in flight at the end", s.Len(), s.InFlight())
		}
	})
}
