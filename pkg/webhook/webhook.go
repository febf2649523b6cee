// Package webhook promises one attempt: a request built, signed and sent as
// Standard Webhooks has it and as the endpoint asks for beside, and the facts of
// what came back. None of the secrets that go into a request comes out in words.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
	"jethook/pkg/retry"
)

// headerDelivery is the response header by which a receiver steers us.
const headerDelivery = "Webhook-Delivery"

// Client sends a request and reads the answer, both within the request's
// context, under an identity or as anybody would.
type Client interface {
	Do(*http.Request) (egress.Response, error)
	DoAs(*http.Request, egress.Identity) (egress.Response, error)
}

// Sender makes attempts.
type Sender struct {
	client    Client
	userAgent string
	tokens    *tokens
}

// NewSender returns a sender that names itself jethook/version. It also asks
// authorization servers for tokens by way of the client, and keeps them: one
// sender serves a whole replica.
func NewSender(c Client, version string) *Sender {
	agent := "jethook/" + version
	return &Sender{client: c, userAgent: agent, tokens: newTokens(tokenClient{c, agent}.ask)}
}

// Attempt makes one attempt within ctx and returns the facts. The attempt was
// interrupted when ctx was canceled, and timed out when its deadline passed.
func (s *Sender) Attempt(ctx context.Context, d *delivery.Delivery, ep *endpoint.Endpoint) delivery.Result {
	start := time.Now()
	of, err := ep.Parsed()
	if err != nil {
		// It is not the endpoint's fault, and no attempt: it is handed back, and
		// held from now on, because the endpoint knows that it is locked.
		return delivery.Result{At: start, Fault: delivery.FaultInterrupted, Error: cut(err.Error())}
	}
	if n := len(d.Event.Body); ep.MaxBody > 0 && n > ep.MaxBody {
		return delivery.Result{At: start, Fault: delivery.FaultInvalidRequest,
			Error: fmt.Sprintf("the body has %d bytes, and the endpoint takes at most %d (max_body)", n, ep.MaxBody)}
	}
	x, err := s.exchange(ctx, d, of, start)
	res := x.answer
	r := delivery.Result{At: start, Duration: time.Since(start), Status: res.Status, Parts: delivery.Parts(res.Timing)}
	// Receivers like to repeat what they refuse, and answers are shown and stored.
	sent := sentCredentials(of, x.authorization)
	body := sent.strike(string(res.Body[:min(len(res.Body), mostBody)]))
	r.Response, r.Body = shownResponse(res.Header, sent), excerpt(body)
	if err != nil || r.Status < 200 || r.Status > 299 { // nobody asks how a request was that did well
		r.Request = shownRequest(x.sent)
	}
	if err != nil {
		r.Fault, r.Error = fault(err)
		return r
	}
	if r.Status < 200 || r.Status > 299 {
		r.Error = describe(res.Status, body)
		r.RetryAfter, _ = retry.RetryAfter(res.Header.Get("Retry-After"), res.Header.Get("Date"), start.Add(r.Duration))
	}
	switch strings.ToLower(strings.TrimSpace(res.Header.Get(headerDelivery))) {
	case "disable":
		r.Disable = true
	case "abort-message":
		r.Abort = true
	}
	return r
}

// exchanged is what was sent last, and what came back.
type exchanged struct {
	authorization string
	sent          http.Header // nil when nothing was
	answer        egress.Response
}

// exchange sends the request, and once more where the receiver refuses a token
// that a new one may take the place of: it may have been revoked before its end.
func (s *Sender) exchange(ctx context.Context, d *delivery.Delivery, of *endpoint.Parsed, at time.Time) (x exchanged, err error) {
	for again := of.Auth != nil && of.Auth.OAuth2 != nil; ; again = false {
		if x.authorization, err = s.authorization(ctx, of.Auth); err != nil {
			return exchanged{}, err
		}
		req := s.request(ctx, d, of, at, x.authorization)
		x.sent = req.Header
		x.answer, err = s.send(req, of.TLS)
		if err != nil || x.answer.Status != http.StatusUnauthorized || !again || !s.tokens.refused(of.Auth.OAuth2, strings.TrimPrefix(x.authorization, bearer)) {
			return x, err
		}
	}
}

// send sends a request under the endpoint's identity, if it has one.
func (s *Sender) send(req *http.Request, as *endpoint.TLS) (egress.Response, error) {
	if as == nil {
		return s.client.Do(req)
	}
	res, err := s.client.DoAs(req, egress.Identity(*as))
	if e, ok := errors.AsType[*egress.Error](err); ok && e.Failure == egress.InvalidRequest && onFiles(as) {
		// A file may be missing on one replica, or for a while. That is no reason to
		// give up deliveries.
		return res, &unsent{delivery.FaultTLS, e.Error()}
	}
	return res, err
}

func onFiles(as *endpoint.TLS) bool {
	return slices.ContainsFunc([]string{as.Cert, as.Key.Reveal(), as.CA}, func(text string) bool { return strings.HasPrefix(text, "file:") })
}
