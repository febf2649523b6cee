package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"jethook/streams"
)

// mark is what a batch leaves in the stream of deliveries, stored in one and
// the same step with them: these dead letters are sent, and to be removed. It
// stays until they are. Whoever finds it finishes the work.
type mark struct {
	// Created is when the stream of dead letters was made: another stream's
	// sequences mean other letters.
	Created time.Time `json:"stream_created"`
	Seqs    []uint64  `json:"dead_letters"`
}

func (s *Store) mark(id string, m mark) (*nats.Msg, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode the mark of a replay: %w", err)
	}
	return &nats.Msg{Subject: s.names.ReplayMark(id), Header: nats.Header{}, Data: body}, nil
}

// finishMarks removes the dead letters of all batches that were stored and not
// finished, by a replay that was interrupted or by one that runs now, for which
// it does no harm. It returns how many letters that were.
func (s *Store) finishMarks(ctx context.Context, created time.Time) (int, error) {
	total := 0
	for from := uint64(1); ; {
		m, seq, err := s.nextMark(ctx, from)
		if err != nil || seq == 0 {
			return total, err
		}
		if m.Created.Equal(created) {
			n, err := s.removeAll(ctx, m.Seqs)
			total += n
			if err != nil {
				return total, fmt.Errorf("finish an interrupted replay: %w", err)
			}
		}
		if _, err := s.remove(ctx, s.names.Deliveries(), seq); err != nil {
			return total, fmt.Errorf("finish an interrupted replay: %w", err)
		}
		from = seq + 1
	}
}

// nextMark reads the first mark from a sequence on. seq is 0 when there is none.
// The leader answers: a replica might not have it yet.
func (s *Store) nextMark(ctx context.Context, from uint64) (m mark, seq uint64, err error) {
	ask := struct {
		Seq  uint64 `json:"seq"`
		Next string `json:"next_by_subj"`
	}{from, s.names.ReplayMark("*")}
	var answer struct {
		Message struct {
			Seq  uint64 `json:"seq"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
	err = streams.Request(ctx, s.js, "STREAM.MSG.GET", s.names.Deliveries(), ask, &answer)
	switch {
	case streams.Absent(err):
		return mark{}, 0, nil
	case err != nil:
		return mark{}, 0, fmt.Errorf("look for interrupted replays: %w", err)
	}
	if err := json.Unmarshal(answer.Message.Data, &m); err != nil || m.Created.IsZero() {
		return mark{}, 0, fmt.Errorf("message %d of stream %s should be the mark of a replay and is not (%w): look at it with `nats stream get`, then remove it", answer.Message.Seq, s.names.Deliveries(), errors.Join(errMark, err))
	}
	return m, answer.Message.Seq, nil
}

var errMark = errors.New("it does not say which dead letters are sent")
