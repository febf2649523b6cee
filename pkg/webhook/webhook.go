// Package webhook promises one attempt: a request built, signed and sent as
// Standard Webhooks has it, and the facts of what came back.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
	"jethook/pkg/retry"
	"jethook/pkg/signature"
)

// The headers of a request, in the form in which net/http sends them.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
	headerType      = "Webhook-Event-Type"
	headerTime      = "Webhook-Event-Time"
	headerAttempt   = "Webhook-Attempt"
	headerReplay    = "Webhook-Replay"
	// headerDelivery is the response header by which a receiver steers us.
	headerDelivery = "Webhook-Delivery"
)

// Client sends a request and reads the answer, both within the request's
// context.
type Client interface {
	Do(*http.Request) (egress.Response, error)
}

// Sender makes attempts.
type Sender struct {
	client    Client
	userAgent string
}

// NewSender returns a sender that names itself jethook/version.
func NewSender(c Client, version string) *Sender {
	return &Sender{client: c, userAgent: "jethook/" + version}
}

// Attempt makes one attempt within ctx and returns the facts. The attempt was
// interrupted when ctx was canceled, and timed out when its deadline passed.
func (s *Sender) Attempt(ctx context.Context, d *delivery.Delivery, ep *endpoint.Endpoint) delivery.Result {
	start := time.Now()
	res, err := s.client.Do(s.request(ctx, d, ep, start))
	r := delivery.Result{At: start, Duration: time.Since(start), Status: res.Status}
	if err != nil {
		r.Fault, r.Error = fault(err)
		return r
	}
	if r.Status < 200 || r.Status > 299 {
		r.Error = describe(res)
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

// request builds the request. Header values share one array, and bodies are
// never copied: this runs for every attempt.
func (s *Sender) request(ctx context.Context, d *delivery.Delivery, ep *endpoint.Endpoint, at time.Time) *http.Request {
	e := &d.Event
	of := ep.Parsed()
	h := make(http.Header, 12+len(of.Header)+len(e.Fields))
	values := make([]string, 0, 9)
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	maps.Copy(h, of.Header)
	for _, f := range e.Fields {
		h[textproto.CanonicalMIMEHeaderKey(f.Name)] = []string{f.Value}
	}
	if e.Field("content-type") == "" {
		set("Content-Type", "application/json")
	}
	set("User-Agent", s.userAgent)
	set(headerID, e.ID)
	unix := at.Unix()
	set(headerTimestamp, strconv.FormatInt(unix, 10))
	if len(of.Keys) > 0 {
		set(headerSignature, signature.Sign(of.Keys, e.ID, unix, e.Body))
	}
	set(headerType, e.Type)
	set(headerTime, e.Time.UTC().Format(time.RFC3339Nano))
	set(headerAttempt, strconv.Itoa(d.Number()))
	if d.State.Replay {
		set(headerReplay, "true")
	}
	req := &http.Request{
		Method: http.MethodPost, URL: of.Target, Host: of.Target.Host, Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(e.Body)),
	}
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(e.Body)), nil }
	if len(e.Body) == 0 {
		body = func() (io.ReadCloser, error) { return http.NoBody, nil }
	}
	req.GetBody = body
	req.Body, _ = body() // it reads from memory and cannot fail
	return req.WithContext(ctx)
}

// fault turns the client's failure into a delivery's.
func fault(err error) (delivery.Fault, string) {
	var e *egress.Error
	if !errors.As(err, &e) {
		return delivery.FaultProtocol, "unknown failure"
	}
	f := delivery.Fault(e.Failure)
	if e.Failure == egress.Canceled {
		f = delivery.FaultInterrupted
	}
	return f, cut(e.Error())
}

// describe says in a line what a response without success was.
func describe(r egress.Response) string {
	text := fmt.Sprintf("status %d", r.Status)
	if name := http.StatusText(r.Status); name != "" {
		text += " " + name
	}
	if len(r.Body) > 0 {
		text += ": " + printable(r.Body)
	}
	return cut(text)
}

// maxError bounds what is kept of an error: it travels in the history of every
// further attempt.
const maxError = 200

func cut(s string) string {
	if len(s) <= maxError {
		return s
	}
	end := maxError
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// printable makes one line of text of what a stranger sent.
func printable(b []byte) string {
	b = b[:min(len(b), 4*maxError)]
	// Not printable are, beside control characters, those that turn the
	// direction of a text or have no width.
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(b), "\uFFFD"), func(r rune) bool {
		return r == ' ' || !unicode.IsPrint(r)
	}), " ")
}
