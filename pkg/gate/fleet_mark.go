package gate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// mark is what is known of one gate, as of a revision of the bucket. A closed
// one is remembered until the watch has come by, which may still bring an older
// record.
type mark struct {
	opened   Opened
	revision uint64
	closed   bool
}

// record is an open gate as it is stored. Written tells what the other times
// mean to those whose clock differs: so long after this was written.
type record struct {
	Opened
	Written time.Time `json:"written"`
}

func gateKey(name string) string { return strings.Replace(name, "/", ".", 1) }

func gateName(key string) string { return strings.Replace(key, ".", "/", 1) }

// decodeOpened reads a record that was written some time before it was
// received. A lease is counted from when it was received: it then ends here no
// sooner than where it is held.
func decodeOpened(value []byte, received, written time.Time) (Opened, error) {
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		// The gate is open to be probed at once, which writes a good record.
		return Opened{Why: "its record cannot be read", Since: written, FailingSince: written, NextProbe: written},
			fmt.Errorf("record of an open gate: %w", err)
	}
	if !r.Written.IsZero() {
		r.NextProbe = written.Add(r.NextProbe.Sub(r.Written))
		if !r.LeaseEnds.IsZero() {
			r.LeaseEnds = received.Add(r.LeaseEnds.Sub(r.Written))
		}
	}
	return r.Opened, nil
}

// put makes a record the known one unless a newer one is, and tells of it.
func (f *Fleet) put(name string, o Opened, revision uint64) {
	f.mu.Lock()
	if known, found := f.marks[name]; !found || known.revision < revision {
		f.set(name, mark{opened: o, revision: revision})
	}
	f.tell()
}

// closed notes that a gate is closed as of a revision, unless something newer
// is known. The watch forgets it: what is older can come no more.
func (f *Fleet) closed(name string, revision uint64, forget bool) {
	f.mu.Lock()
	if known, found := f.marks[name]; found && known.revision <= revision {
		f.set(name, mark{revision: revision, closed: true})
		if forget {
			delete(f.marks, name)
		}
	}
	f.tell()
}

// set replaces a mark. The caller holds the mutex and calls tell.
func (f *Fleet) set(name string, m mark) {
	before, found := f.marks[name]
	wasOpen := found && !before.closed
	f.marks[name] = m
	f.seen = max(f.seen, m.revision)
	if !m.closed && !wasOpen {
		f.count.Add(1)
	}
	if m.closed && wasOpen {
		f.count.Add(-1)
	}
	if !m.closed || wasOpen {
		f.pending = append(f.pending, name)
	}
}

// changes are the gates of which OnChange was not told yet.
type changes struct {
	calls   []func(name string, open bool)
	pending []string
	telling bool
}

// tell unlocks the mutex and tells of what changed. One goroutine at a time
// does that for all, and says what is true by then: two that told in the wrong
// order would leave a gate open for ever that is closed.
func (f *Fleet) tell() {
	if f.telling {
		f.mu.Unlock()
		return
	}
	f.telling = true
	for len(f.pending) > 0 {
		name := f.pending[0]
		f.pending = f.pending[1:]
		m, found := f.marks[name]
		calls := slices.Clone(f.calls)
		f.mu.Unlock()
		for _, call := range calls {
			call(name, found && !m.closed)
		}
		f.mu.Lock()
	}
	f.pending, f.telling = nil, false
	f.mu.Unlock()
}
