package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestRoster(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	fresh := func() *roster {
		r := newRoster(Member{ID: "a"}, start)
		r.hear(Member{ID: "b"}, start)
		return &r
	}
	// beats lets a be heard each second, from the first one to the last.
	beats := func(r *roster, from, to float64) {
		for s := from; s <= to; s++ {
			r.hear(Member{ID: "a"}, at(s))
		}
	}
	alive := func(r *roster) int { return len(r.live()) }

	t.Run("silence is death", func(t *testing.T) {
		r := fresh()
		beats(r, 1, 3)
		if r.sweep(at(3.5)) || alive(r) != 2 {
			t.Error("dead after 3.5 s, which is not more than that")
		}
		if !r.sweep(at(3.6)) || alive(r) != 1 {
			t.Error("alive after more than 3.5 s of silence")
		}
		if r.sweep(at(4)) {
			t.Error("died twice")
		}
		if !r.hear(Member{ID: "b"}, at(4)) || r.hear(Member{ID: "b"}, at(4.1)) {
			t.Error("one that comes back is a change, once")
		}
	})
	t.Run("nobody dies while nothing is heard", func(t *testing.T) {
		r := fresh()
		if r.sweep(at(100)) || alive(r) != 2 {
			t.Error("dead though nothing came through")
		}
		r.hear(Member{ID: "a"}, at(100))
		if r.sweep(at(101)) || alive(r) != 2 {
			t.Error("it had no time to be heard again")
		}
		beats(r, 101, 103)
		if !r.sweep(at(103.6)) {
			t.Error("it was not heard again and is alive")
		}
	})
	t.Run("a load without entries is heard too", func(t *testing.T) {
		r := fresh()
		r.awake(at(10))
		if r.sweep(at(11)) || alive(r) != 2 || r.deaf(at(11)) {
			t.Error("dead by a silence that was nobody's")
		}
	})
	t.Run("this one never leaves", func(t *testing.T) {
		r := fresh()
		if r.remove("a", at(1)) || r.remove("none", at(1)) || alive(r) != 2 {
			t.Error("removed this one, or nobody")
		}
		if !r.remove("b", at(1)) || alive(r) != 1 {
			t.Error("b did not leave")
		}
		r.hear(Member{ID: "c"}, at(5)) // own heartbeats are refused, others come
		r.hear(Member{ID: "c"}, at(6))
		if r.sweep(at(7)); alive(r) != 2 {
			t.Error("silent, and no more alive")
		}
	})
}

func TestRanksAreAPermutationAndMoveLittle(t *testing.T) {
	t.Parallel()
	const members, keys = 7, 7000
	var all []Member
	for i := range members {
		all = append(all, Member{ID: fmt.Sprintf("host-%d", i)})
	}
	without := all[1:] // host-0 dies
	owned := make([]int, members)
	for k := range keys {
		key := fmt.Sprintf("acme/endpoint-%d", k)
		places := make([]int, members)
		for i, m := range all {
			places[i] = rankOf(all, m.ID, key)
		}
		var seen [members]bool
		for i, place := range places {
			if place < 0 || place >= members || seen[place] {
				t.Fatalf("%s: the ranks are %v", key, places)
			}
			seen[place] = true
			if place == 0 {
				owned[i]++
			}
			if i == 0 {
				continue
			}
			want := place
			if place > places[0] {
				want--
			}
			if got := rankOf(without, all[i].ID, key); got != want {
				t.Fatalf("%s: %s was at %d of %v, without the first it is at %d", key, all[i].ID, place, places, got)
			}
		}
	}
	for i, n := range owned { // 1000 each; the standard deviation is 29
		if n < 850 || n > 1150 {
			t.Errorf("host-%d owns %d of %d keys", i, n, keys)
		}
	}
}

// rankOf is the rank of one of the members among all of them.
func rankOf(members []Member, self, key string) int {
	r := rankingOf(members, self)
	return r.rank(r.hashes, key)
}

func TestALaneBelongsToThoseThatServeIt(t *testing.T) {
	t.Parallel()
	some := []Member{
		{ID: "a", Lanes: []string{"default"}},
		{ID: "b", Lanes: []string{"default", "bulk"}},
		{ID: "c", Lanes: []string{"bulk", "bulk"}},
	}
	every := append([]Member{{ID: "d"}}, some...)
	for _, tt := range []struct {
		lane    string
		members []Member
		serve   []string
	}{
		{"default", some, []string{"a", "b"}},
		{"bulk", some, []string{"b", "c"}},
		{"urgent", some, []string{"a", "b", "c"}}, // none serves it: all
		{"default", every, []string{"a", "b", "d"}},
		{"bulk", every, []string{"b", "c", "d"}},
		{"urgent", every, []string{"d"}},
		{"urgent", []Member{{ID: "a"}, {ID: "b"}}, []string{"a", "b"}},
	} {
		var serving []Member
		for _, id := range tt.serve {
			serving = append(serving, Member{ID: id})
		}
		for _, m := range tt.members {
			f := &Fleet{}
			f.ranking.Store(rankingOf(tt.members, m.ID))
			if n := f.CountOf(tt.lane); n != len(tt.serve) {
				t.Errorf("lane %s of %d: %s counts %d, not %v", tt.lane, len(tt.members), m.ID, n, tt.serve)
			}
			for k := range 50 {
				key := fmt.Sprintf("acme/endpoint-%d", k)
				want := len(serving)
				if slices.Contains(tt.serve, m.ID) {
					want = rankOf(serving, m.ID, key)
				}
				if got := f.RankOf(tt.lane, key); got != want {
					t.Fatalf("lane %s of %d: %s is at %d for %s, not at %d", tt.lane, len(tt.members), m.ID, got, key, want)
				}
			}
		}
	}
}

func TestOneThatServesOtherLanesIsAChange(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := newRoster(Member{ID: "a"}, now)
	r.hear(Member{ID: "b", Lanes: []string{"bulk"}}, now)
	if r.hear(Member{ID: "b", Lanes: []string{"bulk"}, Endpoints: 4}, now) {
		t.Error("another revision is a change of who is alive")
	}
	if !r.hear(Member{ID: "b"}, now) {
		t.Error("started again with other lanes, and no change")
	}
}

func BenchmarkRankOf(b *testing.B) {
	all := []Member{{ID: "host-0", Lanes: []string{"bulk"}}}
	for i := range 9 {
		all = append(all, Member{ID: fmt.Sprintf("host-%d", i+1)})
	}
	f := &Fleet{}
	f.ranking.Store(rankingOf(all, "host-3"))
	b.ReportAllocs()
	for b.Loop() {
		f.RankOf("default", "acme/crm")
	}
}

func BenchmarkRank(b *testing.B) {
	var all []Member
	for i := range 10 {
		all = append(all, Member{ID: fmt.Sprintf("host-%d", i)})
	}
	r := rankingOf(all, "host-3")
	for b.Loop() {
		r.rank(r.hashes, "acme/crm")
	}
}
