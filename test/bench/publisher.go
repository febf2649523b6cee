package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// load is what a publisher publishes: events with serial numbers from 0, to its
// subjects in turn.
type load struct {
	Subjects []string `json:"subjects"`
	Count    int      `json:"count"`
	Rate     int      `json:"rate"` // a second; 0: as fast as NATS stores them
}

// publish publishes a load and prints the rate. Its arguments are the NATS URL
// and the file that says what.
func publish(ctx context.Context, args []string) error {
	data, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	var l load
	if err := json.Unmarshal(data, &l); err != nil {
		return err
	}
	nc, err := nats.Connect(args[0])
	if err != nil {
		return err
	}
	defer nc.Close()
	refused := make(chan error, 1)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1024),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
			select {
			case refused <- err: // the first says it all
			default:
			}
		}))
	if err != nil {
		return err
	}
	start := time.Now()
	for i := range l.Count {
		if l.Rate > 0 {
			if err := pause(ctx, time.Until(start.Add(time.Duration(i)*time.Second/time.Duration(l.Rate)))); err != nil {
				return err
			}
		}
		if _, err := js.PublishAsync(l.Subjects[i%len(l.Subjects)], payload(time.Now(), i), jetstream.WithStallWait(time.Minute)); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-js.PublishAsyncComplete():
	}
	fmt.Println(float64(l.Count) / time.Since(start).Seconds())
	select {
	case err := <-refused:
		return err
	default:
		return nil
	}
}

// publish runs a publisher to its end.
func (s *system) publish(ctx context.Context, l load) error {
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(s.bench.dir, "load")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	_, err = s.bench.figure(ctx, "publisher", s.url, file.Name())
	return err
}

// publishing runs a publisher beside what follows; the result waits for it.
func (s *system) publishing(ctx context.Context, l load) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- s.publish(ctx, l) }()
	return func() error { return <-done }
}

// subject is that of an event.
func subject(tenant, eventType string) string { return "webhooks.events." + tenant + "." + eventType }

// headSize is how much of a payload says what it is.
const headSize = len(`{"at":`) + 19 + len(`,"n":`) + 10

// payload returns a JSON body of the benchmark's size that says when it was
// published, and which it is. A leading zero would be no JSON.
func payload(at time.Time, serial int) []byte {
	data := fmt.Appendf(make([]byte, 0, body), `{"at":%019d,"n":%10d,"fill":"`, at.UnixNano(), serial)
	for len(data) < body-2 {
		data = append(data, 'x')
	}
	return append(data, `"}`...)
}

func published(head []byte) (at time.Time, serial int, ok bool) {
	if len(head) < headSize {
		return at, 0, false
	}
	const from, to = len(`{"at":`), len(`{"at":`) + 19
	nanos, err := strconv.ParseInt(string(head[from:to]), 10, 64)
	if err != nil {
		return at, 0, false
	}
	digits := head[to+len(`,"n":`) : headSize]
	for len(digits) > 1 && digits[0] == ' ' {
		digits = digits[1:]
	}
	serial, err = strconv.Atoi(string(digits))
	return time.Unix(0, nanos), serial, err == nil
}
