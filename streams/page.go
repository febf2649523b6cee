package streams

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// errNoAnswer keeps a page that did not arrive from looking like the end.
	errNoAnswer = errors.New("its answer was lost on the way")
	errNoPages  = errors.New("the server does not answer with several messages")
)

// Page returns the first messages, without gaps, and none when there are none. There
// may be fewer than Most although more follow. It asks the stream once, directly and
// now, so that nothing of it lay in a buffer meanwhile.
func (r Read) Page(ctx context.Context, js jetstream.JetStream) ([]Message, error) {
	page, err := r.page(ctx, js)
	if err != nil && len(page) == 0 {
		return nil, r.explain(err)
	}
	return page, nil // the next page begins with what was lost
}

func (r Read) page(ctx context.Context, js jetstream.JetStream) (page []Message, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r.Most, r.Bytes = cmp.Or(r.Most, 1000), cmp.Or(r.Bytes, 4<<20)
	if r.Last >= r.First && r.First > 0 {
		r.Most = int(min(uint64(r.Most), r.Last-r.First+1))
	}
	// One more for the end. The client's own inbox for answers has a subscription
	// already: there each message would come twice.
	answers := make(chan *nats.Msg, r.Most+1)
	inbox := js.Conn().NewInbox()
	subscription, err := js.Conn().ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = subscription.Unsubscribe() }() // fails where there is no connection any more
	if err := js.Conn().PublishRequest(apiPrefix(js.Options())+"DIRECT.GET."+r.Stream, inbox, r.ask()); err != nil {
		return nil, err
	}
	for previous := uint64(0); ; {
		select {
		case <-ctx.Done():
			return page, errors.Join(errNoAnswer, ctx.Err())
		case answer := <-answers:
			if said(answer.Header, jetstream.SequenceHeader) == "" {
				return page, endOf(answer, len(page))
			}
			m, before, err := messageOf(answer)
			if err != nil {
				return page, err
			}
			if before != previous { // one was lost on the way
				return page, errNoAnswer
			}
			previous = m.Seq
			page = append(page, m)
		}
	}
}

// ask is the request.
func (r Read) ask() []byte {
	ask := map[string]any{"batch": r.Most, "max_bytes": r.Bytes, "next_by_subj": r.Filter}
	if r.First == 0 && !r.Since.IsZero() {
		ask["start_time"] = r.Since
	} else {
		ask["seq"] = max(r.First, 1)
	}
	data, _ := json.Marshal(ask) // such values cannot fail
	return data
}

// endOf returns nil for an answer that says that no more messages come: after some, or
// because there are none.
func endOf(answer *nats.Msg, messages int) error {
	switch status := answer.Header.Get("Status"); {
	case status == "404", status == "204" && messages > 0:
		return nil
	case status == "204":
		return errNoAnswer
	case status == "503":
		return nats.ErrNoResponders
	}
	return errNoPages
}

// messageOf returns the message in an answer, and the sequence of the one before it.
func messageOf(answer *nats.Msg) (m Message, before uint64, err error) {
	numbers := [3]uint64{}
	for i, header := range []string{jetstream.SequenceHeader, "Nats-Num-Pending", "Nats-Last-Sequence"} {
		if numbers[i], err = strconv.ParseUint(said(answer.Header, header), 10, 64); err != nil {
			return Message{}, 0, fmt.Errorf("%w: %s: %w", errNoPages, header, err)
		}
	}
	at, err := time.Parse(time.RFC3339Nano, said(answer.Header, jetstream.TimeStampHeaer))
	if err != nil {
		return Message{}, 0, fmt.Errorf("%w: %w", errNoPages, err)
	}
	return Message{said(answer.Header, jetstream.SubjectHeader), numbers[0], at, answer.Header, answer.Data, numbers[1]}, numbers[2], nil
}

// said returns what the server said in a header: its own are behind those that a
// producer gave the same name.
func said(header nats.Header, name string) string {
	values := header[name]
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

func (r Read) explain(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("there is no stream %s: run `jethook serve` or `jethook streams apply` first", r.Stream)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, errNoPages):
		return fmt.Errorf("read stream %s: %w: it needs allow_direct (`jethook streams apply` sets it) and nats-server 2.11 or newer", r.Stream, err)
	}
	return fmt.Errorf("read stream %s: %w", r.Stream, err)
}
