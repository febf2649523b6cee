package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ask makes one request of JetStream's API. A server says nothing to a request
// that the user may not make: it drops it and reports the violation beside. So
// the violation is looked out for, and the request does not wait for an answer
// that will never come.
func ask(ctx context.Context, js jetstream.JetStream, request func(context.Context) error) error {
	before := js.Conn().LastError()
	violation := func() error {
		if last := js.Conn().LastError(); last != before && errors.Is(last, nats.ErrPermissionViolation) { //nolint:errorlint // the very same one is an old one
			return last
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		ticker := time.NewTicker(lookEvery)
		defer ticker.Stop()
		for violation() == nil {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
		cancel()
	}()
	err := request(ctx)
	cancel()
	<-looked
	if err == nil {
		return nil
	}
	if denied := violation(); denied != nil {
		return fmt.Errorf("this user may not do that (%w): ask an operator to run `jethook streams apply`, or to grant it", denied)
	}
	return explain(err)
}

const (
	patience  = 10 * time.Second // making a stream in a cluster takes an election
	lookEvery = 20 * time.Millisecond
)

// explain says what to do about the errors that have a known cure.
func explain(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: enable JetStream for this account", err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: start nats-server with -js, or leave NATS_URL unset for the embedded server", err)
	case errors.As(err, &api) && api.ErrorCode == overlap:
		return fmt.Errorf("%w: another stream takes these subjects already; remove them from it, or choose another JETHOOK_NAMESPACE", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from JetStream within %s: %w", patience, err)
	}
	return err
}

// overlap is the server's code for subjects that another stream holds.
const overlap = 10065

// Schedules reports whether the connected server's scheduled messages may be
// relied on: 2.12.12, 2.14.3 or newer.
func Schedules(nc *nats.Conn) bool { return schedules(nc.ConnectedServerVersion()) }

func schedules(version string) bool {
	var major, minor, patch int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); err != nil {
		return false // an unknown version is treated as an old one, which only costs comfort
	}
	switch {
	case major != 2 || minor > 14:
		return major >= 2
	case minor == 14:
		return patch >= 3
	case minor == 12:
		return patch >= 12
	}
	return false
}
