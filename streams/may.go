package streams

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// refusalTime bounds how long the server's refusal is awaited, which comes
// beside the request and not as its answer.
const refusalTime = 2 * time.Second

// MayMake reports whether this connection's user may make a consumer with such a
// name and filter, as far as the server says: it refuses only what it names in a
// permission violation. Nothing is made.
func MayMake(ctx context.Context, js jetstream.JetStream, c Consumer) bool {
	subject := "CONSUMER.CREATE." + c.Stream + "." + c.Config.Name
	if c.Config.FilterSubject != "" {
		subject += "." + c.Config.FilterSubject
	}
	ask := struct {
		Stream string                   `json:"stream_name"`
		Config jetstream.ConsumerConfig `json:"config"`
		Action string                   `json:"action"`
	}{c.Stream, c.Config, "update"} // of what does not exist, which changes nothing
	ctx, cancel := context.WithTimeout(ctx, refusalTime)
	defer cancel()
	err := request(ctx, js, subject, ask, new(struct{}))
	if _, answered := errors.AsType[*jetstream.APIError](err); err == nil || answered {
		return true
	}
	last := js.Conn().LastError()
	return !errors.Is(last, nats.ErrPermissionViolation) || !strings.Contains(last.Error(), subject)
}
