package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"jethook/pkg/egress"
	"jethook/pkg/secret"
)

// HTTP sends a request and reads the answer, both within the request's context.
type HTTP interface {
	Do(*http.Request) (egress.Response, error)
}

// slack posts to incoming webhooks. Tenants name them, so it goes through the same
// guard as deliveries.
type slack struct {
	http      HTTP
	userAgent string
}

// mrkdwn escapes what Slack takes for more than text: links, and mentions that wake
// everybody.
var mrkdwn = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func (s slack) send(ctx context.Context, to secret.Secret, w Word) error {
	body, err := json.Marshal(map[string]string{"text": mrkdwn.Replace(w.Text())})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.Reveal(), bytes.NewReader(body))
	if err != nil {
		return &finalError{errors.New("its URL cannot be parsed")} // the parser's error would repeat it
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.userAgent)
	res, err := s.http.Do(req)
	if e, ok := errors.AsType[*egress.Error](err); ok {
		err = errors.New(string(e.Failure)) // without the host
		if e.Failure == egress.BlockedAddress || e.Failure == egress.InvalidRequest {
			return &finalError{err}
		}
		return err
	}
	switch {
	case err != nil:
		return errors.New("the request could not be made")
	case res.Status >= 200 && res.Status < 300:
		return nil
	case res.Status >= 400 && res.Status < 500 && res.Status != http.StatusTooManyRequests && res.Status != http.StatusRequestTimeout:
		return &finalError{fmt.Errorf("status %d", res.Status)}
	}
	return fmt.Errorf("status %d", res.Status)
}

// finalError is one that trying again would not mend.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }
