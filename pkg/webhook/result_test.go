package webhook

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
)

// Every status is a fact, and only 2xx is without an error.
func TestStatuses(t *testing.T) {
	for code := 100; code <= 599; code++ {
		r := answered(t, egress.Response{Status: code, Body: []byte("no <b>luck</b>\n")}, nil)
		if r.Status != code || r.Fault != delivery.FaultNone {
			t.Errorf("%d: %+v", code, r)
		}
		want := ""
		if code < 200 || code > 299 {
			want = strings.TrimSpace("status "+strconv.Itoa(code)+" "+http.StatusText(code)) + ": no <b>luck</b>"
		}
		if r.Error != want {
			t.Errorf("%d: error %q, want %q", code, r.Error, want)
		}
	}
}

// What a response's headers ask for.
func TestResponseHeaders(t *testing.T) {
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for name, c := range map[string]struct {
		status         int
		header         map[string]string
		low, high      time.Duration // of RetryAfter
		disable, abort bool
	}{
		"nothing":                 {503, nil, 0, 0, false, false},
		"seconds":                 {503, map[string]string{"Retry-After": "120"}, 2 * time.Minute, 2 * time.Minute, false, false},
		"seconds on 429":          {429, map[string]string{"Retry-After": " 7 "}, 7 * time.Second, 7 * time.Second, false, false},
		"date, our clock":         {503, map[string]string{"Retry-After": in(time.Hour)}, 59 * time.Minute, time.Hour, false, false},
		"date, the other's clock": {503, map[string]string{"Retry-After": in(25 * time.Hour), "Date": in(24 * time.Hour)}, 59 * time.Minute, 61 * time.Minute, false, false},
		"date in the past":        {503, map[string]string{"Retry-After": in(-time.Hour)}, 0, 0, false, false},
		"garbage":                 {503, map[string]string{"Retry-After": "soon"}, 0, 0, false, false},
		"negative":                {503, map[string]string{"Retry-After": "-5"}, 0, 0, false, false},
		"not on success":          {200, map[string]string{"Retry-After": "120"}, 0, 0, false, false},
		"disable":                 {400, map[string]string{"Webhook-Delivery": "disable"}, 0, 0, true, false},
		"disable on success":      {204, map[string]string{"Webhook-Delivery": " Disable "}, 0, 0, true, false},
		"abort":                   {503, map[string]string{"Webhook-Delivery": "abort-message"}, 0, 0, false, true},
		"something else":          {503, map[string]string{"Webhook-Delivery": "disabled"}, 0, 0, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			for k, v := range c.header {
				h.Set(k, v)
			}
			r := answered(t, egress.Response{Status: c.status, Header: h}, nil)
			if r.RetryAfter < c.low || r.RetryAfter > c.high {
				t.Errorf("retry after %v, want %v to %v", r.RetryAfter, c.low, c.high)
			}
			if r.Disable != c.disable || r.Abort != c.abort {
				t.Errorf("disable %t, abort %t", r.Disable, r.Abort)
			}
		})
	}
}

// What an answer asks for is obeyed where the request said the same words: they are
// struck out of what is shown, and of nothing else.
func TestResponseHeadersThatRepeatTheRequest(t *testing.T) {
	for _, asks := range []string{"disable", "abort-message"} {
		answer := egress.Response{Status: 503, Header: http.Header{"Webhook-Delivery": {asks}, "Retry-After": {"100000"}}}
		s := NewSender(clientFunc(func(*http.Request) (egress.Response, error) { return answer, nil }), "test")
		r := s.Attempt(t.Context(), given(), newEndpoint(t, "https://example.com/?a="+asks+"&b=100000"))
		if r.Disable != (asks == "disable") || r.Abort != (asks == "abort-message") || r.RetryAfter != 100000*time.Second {
			t.Errorf("%s: disable %t, abort %t, retry after %s", asks, r.Disable, r.Abort, r.RetryAfter)
		}
		if r.Response["webhook-delivery"] != "***" {
			t.Errorf("%s is shown as %q", asks, r.Response["webhook-delivery"])
		}
	}
}

// Every failure of the client is a fault of the delivery, and says so in words.
func TestFaults(t *testing.T) {
	for failure, want := range map[egress.Failure]delivery.Fault{
		egress.Timeout:        delivery.FaultTimeout,
		egress.DNS:            delivery.FaultDNS,
		egress.Connect:        delivery.FaultConnect,
		egress.TLS:            delivery.FaultTLS,
		egress.Closed:         delivery.FaultClosed,
		egress.Protocol:       delivery.FaultProtocol,
		egress.BlockedAddress: delivery.FaultBlockedAddress,
		egress.InvalidRequest: delivery.FaultInvalidRequest,
		egress.Canceled:       delivery.FaultInterrupted,
	} {
		e := &egress.Error{Failure: failure, Host: "example.com", Err: errors.New("cause")}
		r := answered(t, egress.Response{Status: 200, Header: http.Header{"Webhook-Delivery": {"disable"}}}, e)
		if r.Fault != want || r.Error != e.Error() || r.Status != 200 || r.Disable {
			t.Errorf("%s: %+v, want fault %s", failure, r, want)
		}
	}
	if r := answered(t, egress.Response{}, errors.New("who knows")); r.Fault != delivery.FaultProtocol || strings.Contains(r.Error, "who") {
		t.Errorf("unknown failure: %+v", r)
	}
}

// The same with the real client and receivers that misbehave.
func TestFaultsForReal(t *testing.T) {
	silent, l := receiveNothing(t)
	// Nobody listens at the near end of a connection, nor can begin to while it is open.
	near, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = near.Close() }()
	refused := "http://" + near.LocalAddr().String()
	fine, _ := receive(t, ok)
	half, _ := receive(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
	garbage, _ := receive(t, "SSH-2.0-OpenSSH\r\n\r\n")
	stopping := errors.New("stopping")
	for name, c := range map[string]struct {
		url    string
		field  event.Field
		stop   bool
		want   delivery.Fault
		status int
	}{
		"silence":         {url: silent, want: delivery.FaultTimeout},
		"refused":         {url: refused, want: delivery.FaultConnect},
		"half a body":     {url: half, want: delivery.FaultClosed, status: 200},
		"no HTTP":         {url: garbage, want: delivery.FaultProtocol},
		"blocked address": {url: "http://10.0.0.1/", want: delivery.FaultBlockedAddress},
		"unknown host":    {url: "http://host.invalid/", want: delivery.FaultDNS},
		"line break":      {url: fine, field: event.Field{Name: "ce-x", Value: "a\r\nb: c"}, want: delivery.FaultInvalidRequest},
		"no header name":  {url: fine, field: event.Field{Name: "ce-a b", Value: "x"}, want: delivery.FaultInvalidRequest},
		"interrupted":     {url: silent, stop: true, want: delivery.FaultInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			timeout := time.Minute
			switch c.want {
			case delivery.FaultTimeout:
				timeout = 100 * time.Millisecond
			case delivery.FaultDNS:
				timeout = 10 * time.Second // where nobody answers for names, it ends so
			}
			if c.stop {
				time.AfterFunc(100*time.Millisecond, func() { cancel(stopping) })
			}
			ctx, end := context.WithTimeout(ctx, timeout)
			defer end()
			d := given()
			if c.field.Name != "" {
				d.Event.Fields = append(d.Event.Fields, c.field)
			}
			r := NewSender(newClient(t), "test").Attempt(ctx, d, newEndpoint(t, c.url))
			if r.Fault != c.want && (c.want != delivery.FaultDNS || r.Fault != delivery.FaultTimeout) || r.Status != c.status || r.Error == "" {
				t.Errorf("%+v, want fault %s", r, c.want)
			}
		})
	}
}

// receiveNothing accepts connections and says nothing.
func receiveNothing(t *testing.T) (url string, l net.Listener) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var open []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			open = append(open, c)
		}
		for _, c := range open {
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String(), l
}

// An error is one short printable line, whatever a receiver sends.
func TestErrorsArePrintable(t *testing.T) {
	for name, body := range map[string]string{
		"lines":        "a\r\nb\tc\x00d\x1b[31me",
		"C1":           "a\u0085b\u009bc",
		"bidi":         "a\u202eb\u2066c\u200fd\u061ce",
		"no width":     "a\u200bb\ufeffc\u00add",
		"separators":   "a\u2028b\u2029c\u00a0d",
		"not UTF-8":    "a\xff\xfeb\xc3",
		"long":         strings.Repeat("é€", 10000),
		"long no UTF8": strings.Repeat("\xff", 10000),
		"only control": strings.Repeat("\n", 10000),
		"private use":  "a\ue000b",
	} {
		t.Run(name, func(t *testing.T) {
			got := answered(t, egress.Response{Status: 500, Body: []byte(body)}, nil).Error
			if !strings.HasPrefix(got, "status 500 Internal Server Error") {
				t.Errorf("error %q", got)
			}
			if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("error %q cannot be printed", got)
			}
			if len(got) > maxError+len("…") {
				t.Errorf("error of %d bytes, want at most %d", len(got), maxError)
			}
		})
	}
	long := &egress.Error{Failure: egress.Connect, Host: strings.Repeat("é", 300), Err: io.EOF}
	if got := answered(t, egress.Response{}, long).Error; len(got) > maxError+len("…") || !utf8.ValidString(got) {
		t.Errorf("error of %d bytes", len(got))
	}
}

var _ interface {
	Attempt(context.Context, *delivery.Delivery, *endpoint.Endpoint) delivery.Result
} = (*Sender)(nil)
