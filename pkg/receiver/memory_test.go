package receiver

import (
	"fmt"
	"testing"
)

func TestMemoryForgetsTheOldestFirst(t *testing.T) {
	const limit = 5
	m := newMemory(limit)
	for i := range 4 * limit {
		id := fmt.Sprint(i)
		if !m.add(id) {
			t.Fatalf("id %s is not new", id)
		}
		if m.add(id) {
			t.Fatalf("id %s is new twice", id)
		}
		for j := range i + 1 {
			if got, want := m.has(fmt.Sprint(j)), j > i-limit; got != want {
				t.Fatalf("after %s: remembers %d is %v, want %v", id, j, got, want)
			}
		}
		if len(m.ids) > limit || len(m.order) > limit {
			t.Fatalf("holds %d and %d ids, limit %d", len(m.ids), len(m.order), limit)
		}
	}
}
