package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// requestTimeout bounds a request to JetStream's API.
const requestTimeout = 10 * time.Second

// Request sends a request about a stream to JetStream's API, for what the client
// has no words for: a purge that says how many, a delete that does not
// overwrite, a read from the leader and not from a replica that may lag. The
// verb is such as STREAM.MSG.GET. An error that the server answers is a
// *jetstream.APIError.
func Request(ctx context.Context, js jetstream.JetStream, verb, stream string, ask, answer any) error {
	if err := request(ctx, js, verb+"."+stream, ask, answer); err != nil {
		return fmt.Errorf("%s %s: %w", verb, stream, err)
	}
	return nil
}

func request(ctx context.Context, js jetstream.JetStream, subject string, ask, answer any) error {
	data, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := js.Conn().RequestWithContext(ctx, apiPrefix(js.Options())+subject, data)
	if err != nil {
		return err
	}
	var failed struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return err
	}
	if failed.Error != nil {
		return failed.Error
	}
	return json.Unmarshal(m.Data, answer)
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

// Absent reports whether the server says that there is no such message.
func Absent(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeNoMessage || api.ErrorCode == codeNoSequence)
}
