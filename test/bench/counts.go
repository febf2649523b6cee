package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// counts is what the receiver says of one endpoint, or of several together.
type counts struct {
	Epoch         time.Time     `json:"epoch"`
	Requests      int64         `json:"requests"`
	Answered      map[int]int64 `json:"answered"` // by status; 0: not at all
	Distinct      int64         `json:"distinct"` // events with a 2xx answer
	First         time.Time     `json:"first"`    // request
	Last          time.Time     `json:"last"`
	Delivered     time.Time     `json:"delivered"` // when the last new event came
	P50           time.Duration `json:"p50"`       // from publishing to the request that was answered 2xx
	P99           time.Duration `json:"p99"`
	MostInFlight  int           `json:"most_in_flight"`
	MostInASecond int           `json:"most_in_a_second"` // in any second, not only those of the clock
	Buckets       []int32       `json:"buckets"`
}

func (t *tally) counts() counts {
	return counts{
		Epoch: t.epoch, Requests: t.requests, Answered: t.answered, Distinct: t.distinct,
		First: t.first, Last: t.last, Delivered: t.delivered,
		P50: t.quantile(.5), P99: t.quantile(.99),
		MostInFlight: t.mostInFlight, MostInASecond: t.mostInASecond,
		Buckets: t.buckets,
	}
}

// perSecond is the rate of deliveries from the first request to the last that
// was new.
func (c counts) perSecond() float64 { return float64(c.Distinct) / c.Delivered.Sub(c.First).Seconds() }

// in counts the requests of a span, which begins with the next bucket and is
// whole buckets long.
func (c counts) in(from time.Time, span time.Duration) (n int64) {
	i := int((from.Sub(c.Epoch) + bucket - 1) / bucket)
	for j := i; j < min(i+int(span/bucket), len(c.Buckets)); j++ {
		n += int64(c.Buckets[j])
	}
	return n
}

// ask returns the counts of endpoints of the receiver, together.
func (b *bench) ask(ctx context.Context, ids ...string) (c counts, err error) {
	data, err := b.call(ctx, "/counts", url.Values{"id": ids})
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(data, &c)
}

// tell tells an endpoint of the receiver what to do from now on.
func (b *bench) tell(ctx context.Context, id, mode string) error {
	_, err := b.call(ctx, "/set", url.Values{"id": {id}, "mode": {mode}})
	return err
}

// forget makes the receiver forget all that it was told and has counted, or
// what one endpoint has counted.
func (b *bench) forget(ctx context.Context, ids ...string) error {
	_, err := b.call(ctx, "/reset", url.Values{"id": ids})
	return err
}

// arrived waits until events of serial numbers of their own have been delivered
// to the endpoints, n in all, or until the time is over, which is no error: the
// counts say how far they came.
func (b *bench) arrived(ctx context.Context, n int, within time.Duration, ids ...string) (c counts, err error) {
	deadline := time.Now().Add(within)
	for {
		if c, err = b.ask(ctx, ids...); err != nil || c.Distinct >= int64(n) || time.Now().After(deadline) {
			return c, err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return c, fmt.Errorf("%d of %d events arrived at %v: %w", c.Distinct, n, ids, err)
		}
	}
}

func (b *bench) call(ctx context.Context, path string, query url.Values) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("receiver: %s: %s", res.Status, data)
	}
	return data, err
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
