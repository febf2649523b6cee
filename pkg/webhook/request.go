package webhook

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"strconv"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/signature"
	"jethook/pkg/tracing"
)

// The headers of a request, in the form in which net/http sends them.
const (
	headerID            = "Webhook-Id"
	headerTimestamp     = "Webhook-Timestamp"
	headerSignature     = "Webhook-Signature"
	headerType          = "Webhook-Event-Type"
	headerTime          = "Webhook-Event-Time"
	headerAttempt       = "Webhook-Attempt"
	headerReplay        = "Webhook-Replay"
	headerAuthorization = "Authorization"
)

// request builds the request. Header values share one array, and bodies are
// never copied: this runs for every attempt. The authorization may be empty.
func (s *Sender) request(ctx context.Context, d *delivery.Delivery, of *endpoint.Parsed, at time.Time, authorization string) *http.Request {
	e := &d.Event
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
	unix := at.Unix()
	timestamp := strconv.FormatInt(unix, 10)
	if len(of.ExtraSignatures) > 0 {
		signExtra(h, of.ExtraSignatures, message{e.ID, timestamp, e.Body})
	}
	// What follows is ours, and no header of the event or the endpoint replaces it.
	if authorization != "" {
		h[headerAuthorization] = []string{authorization}
	}
	if e.Field("content-type") == "" {
		set("Content-Type", "application/json")
	}
	tracing.Inject(ctx, h)
	set("User-Agent", s.userAgent)
	set(headerID, e.ID)
	set(headerTimestamp, timestamp)
	if keys := of.Keys(at); len(keys) > 0 {
		set(headerSignature, signature.Sign(keys, e.ID, unix, e.Body))
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
