package delivery

import (
	"fmt"
	"testing"

	"jethook/pkg/event"
)

// No two states that differ share a Msg-Id, whatever the names, so that NATS
// never drops one for the other.
func TestMsgIDsAreUnique(t *testing.T) {
	seen := map[string]string{}
	add := func(id, what string) {
		if other, found := seen[id]; found {
			t.Fatalf("%s is the id of %s and of %s", id, other, what)
		}
		seen[id] = what
	}
	names := []string{"a", "b", "a-b", "w1", "dead", "1"}
	for _, tenant := range names {
		for _, endpoint := range names {
			for _, eventID := range []string{"a", "dead", "w1", "1", "e1"} {
				for _, origin := range []string{"e1", "e11", "d1", "w1", "dead"} {
					d := New(event.Event{ID: eventID, Tenant: tenant}, endpoint)
					d.State.Origin = origin
					what := fmt.Sprint(tenant, "/", endpoint, " ", eventID, " ", origin)
					for attempts := range 12 {
						d.State.Attempts = attempts
						add(d.MsgID(), fmt.Sprint(what, " after ", attempts))
					}
					for seq := range uint64(12) {
						add(d.WaitMsgID(seq), fmt.Sprint(what, " waiting at ", seq))
					}
					add(d.DeadMsgID(), what+" dead")
				}
			}
		}
	}
}

// Storing a state again is storing the same.
func TestMsgIDIsOfTheStateAlone(t *testing.T) {
	a, b := testDelivery(), testDelivery()
	b.State.History, b.State.Due = []Attempt{{Attempt: 1}}, start
	b.Event.Body = []byte("whatever")
	if a.MsgID() != b.MsgID() || a.DeadMsgID() != b.DeadMsgID() || a.WaitMsgID(7) != b.WaitMsgID(7) {
		t.Errorf("ids %s and %s", a.MsgID(), b.MsgID())
	}
}

// A failed probe is in the history, and is none of the attempts.
func TestMadeLeavesProbesOut(t *testing.T) {
	for _, tt := range []struct {
		state State
		want  int
	}{
		{State{}, 0},
		{State{History: []Attempt{{Probe: true}, {Probe: true}}}, 0},
		{State{Attempts: 1, History: []Attempt{{Probe: true}, {}, {Probe: true}}}, 1},
		{State{Attempts: 1, History: []Attempt{{}, {}, {}}}, 3}, // two before a replay
		{State{Attempts: MaxHistory + 6, History: make([]Attempt, MaxHistory)}, MaxHistory + 6},
	} {
		if got := tt.state.Made(); got != tt.want {
			t.Errorf("%d in this round and %d in the history are %d, want %d", tt.state.Attempts, len(tt.state.History), got, tt.want)
		}
	}
}
