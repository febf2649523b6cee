package deadletter

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A page ends before a gap. A batch with a gap in it would be removed by a purge
// that reaches over the letter that was not sent.
func TestPageHasNoGaps(t *testing.T) {
	w := newWorld(t, setting{})
	js, err := jetstream.NewWithAPIPrefix(w.nc, "fake")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		arrive []int // of the letters 1 to 4
		want   int
	}{
		"all":             {[]int{1, 2, 3, 4}, 4},
		"first is lost":   {[]int{2, 3, 4}, 0},
		"one is lost":     {[]int{1, 2, 4}, 2},
		"the end is lost": {[]int{1, 2, 3}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			answered := make(chan struct{}) // a page that ends early does not wait for the rest
			sub, err := w.nc.Subscribe("fake.DIRECT.GET."+w.names.DeadLetters(), func(m *nats.Msg) {
				defer close(answered)
				for _, seq := range c.arrive {
					answer := nats.NewMsg(m.Reply)
					answer.Header.Set(jetstream.StreamHeader, w.names.DeadLetters())
					answer.Header.Set(jetstream.SubjectHeader, w.names.DeadLetter("acme", "crm"))
					answer.Header.Set(jetstream.SequenceHeader, strconv.Itoa(seq))
					answer.Header.Set(jetstream.TimeStampHeaer, time.Now().Format(time.RFC3339Nano))
					answer.Header.Set("Nats-Num-Pending", "0")
					answer.Header.Set("Nats-Last-Sequence", strconv.Itoa(seq-1))
					if err := m.RespondMsg(answer); err != nil {
						t.Error(err)
					}
				}
				end := nats.NewMsg(m.Reply)
				end.Header.Set("Status", "204")
				end.Header.Set("Description", "EOB")
				if err := m.RespondMsg(end); err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			page, err := NewStore(js, w.names).page(w.ctx, w.names.DeadLetter("*", "*"), 1, time.Time{}, 10)
			if (err == nil) != (c.want > 0) || len(page) != c.want {
				t.Errorf("%d letters, %v; want %d", len(page), err, c.want)
			}
			<-answered
			if err := sub.Unsubscribe(); err != nil {
				t.Error(err)
			}
		})
	}
}
