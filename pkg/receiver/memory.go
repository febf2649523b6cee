package receiver

// memory holds the last ids added, up to a limit: the oldest leaves first.
type memory struct {
	ids   map[string]struct{}
	order []string // a ring once it is full
	next  int      // the oldest of a full ring, where the next id goes
	limit int
}

// newMemory returns a memory that grows up to limit ids.
func newMemory(limit int) memory {
	return memory{ids: make(map[string]struct{}), limit: limit}
}

// has tells whether the id is remembered.
func (m *memory) has(id string) bool {
	_, ok := m.ids[id]
	return ok
}

// add remembers the id and tells whether it was new.
func (m *memory) add(id string) bool {
	if m.has(id) {
		return false
	}
	m.ids[id] = struct{}{}
	if len(m.order) < m.limit {
		m.order = append(m.order, id)
		return true
	}
	delete(m.ids, m.order[m.next])
	m.order[m.next] = id
	m.next = (m.next + 1) % m.limit
	return true
}
