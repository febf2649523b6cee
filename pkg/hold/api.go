package hold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const apiTimeout = 10 * time.Second

// request sends a request to JetStream's API, for what the client has no words
// for: a purge that says how many, a read from the leader and not from a
// replica that may lag.
func (s *Store) request(ctx context.Context, verb string, ask, answer any) error {
	verb += "." + s.names.Deliveries()
	data, err := json.Marshal(ask)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	m, err := s.js.Conn().RequestWithContext(ctx, apiPrefix(s.js.Options())+verb, data)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	var failed struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if failed.Error != nil {
		return fmt.Errorf("%s: %w", verb, failed.Error)
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

func apiPrefix(o jetstream.JetStreamOptions) string {
	switch {
	case o.APIPrefix != "" && o.APIPrefix[len(o.APIPrefix)-1] == '.':
		return o.APIPrefix
	case o.APIPrefix != "":
		return o.APIPrefix + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	}
	return "$JS.API."
}

// The codes with which the server says that there is no such message.
const (
	codeNoMessage  jetstream.ErrorCode = 10037
	codeNoSequence jetstream.ErrorCode = 10043
)

// absent reports whether the server says that there is no such message.
func absent(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeNoMessage || api.ErrorCode == codeNoSequence)
}
