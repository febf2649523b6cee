package fleet

import "testing"

// Replicas without the master keys rank behind all that have them, share no limit
// with them, and are only counted where nobody has any.
func TestKeylessRankBehind(t *testing.T) {
	keyless := []Member{{ID: "a", Keyless: true}, {ID: "b"}, {ID: "c", Lanes: []string{"bulk"}, Keyless: true}}
	a, b, c := rankingOf(keyless, "a"), rankingOf(keyless, "b"), rankingOf(keyless, "c")
	for i := range 20 {
		key := string(rune('a' + i))
		if n := b.rank(b.of(""), key); n != 0 {
			t.Fatalf("the one with keys ranks %d for %s", n, key)
		}
		if n := a.rank(a.of(""), key); n != 1 {
			t.Fatalf("the one without ranks %d of %d for %s", n, len(a.of("")), key)
		}
		if c.rank(c.of("bulk"), key) == 0 {
			t.Fatalf("without keys, it is first in its lane for %s", key)
		}
	}
	alone := rankingOf(keyless[:1], "a")
	if len(alone.of("")) != 1 || alone.rank(alone.of(""), "x") != 0 {
		t.Error("where nobody has keys, nobody ranks first")
	}
}
