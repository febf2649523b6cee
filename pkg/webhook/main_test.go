package webhook

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretA = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
	secretB = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// sent is a request as the receiver got it.
type sent struct {
	raw    string // the head as it was on the wire
	header http.Header
	body   []byte
}

// receive answers each connection's one request with a fixed text and returns
// where it listens and what comes.
func receive(t testing.TB, answer string) (url string, got <-chan sent) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests := make(chan sent, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if s, ok := readRequest(c); ok {
				requests <- s
				_, _ = io.WriteString(c, answer)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String(), requests
}

func readRequest(c net.Conn) (sent, bool) {
	var raw strings.Builder
	r := bufio.NewReader(io.TeeReader(c, &raw))
	req, err := http.ReadRequest(r)
	if err != nil {
		return sent{}, false
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return sent{}, false
	}
	head, _, _ := strings.Cut(raw.String(), "\r\n\r\n")
	h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(head[strings.Index(head, "\r\n")+2:] + "\r\n\r\n"))).ReadMIMEHeader()
	return sent{raw: head, header: http.Header(h), body: body}, err == nil
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

func newClient(t testing.TB) *egress.Client {
	t.Helper()
	c := egress.New(egress.Options{AllowHTTP: true, Allow: egress.AnyPort(netip.MustParsePrefix("127.0.0.0/8"))})
	t.Cleanup(c.Close)
	return c
}

// given returns a delivery that was never attempted.
func given() *delivery.Delivery {
	d := delivery.New(event.Event{
		ID: "evt_1", Tenant: "acme", Type: "order.created", Seq: 7, Body: []byte(`{"a": 1}`),
		Time: time.Date(2026, 1, 2, 4, 4, 5, 678000000, time.FixedZone("", 3600)),
	}, "crm")
	return &d
}

func newEndpoint(t testing.TB, url string, change ...func(*endpoint.Document)) *endpoint.Endpoint {
	t.Helper()
	d := endpoint.NewDocument()
	d.Tenant, d.ID, d.URL, d.Events = "acme", "crm", url, []string{">"}
	d.Secrets = []endpoint.SigningSecret{{Secret: secretA}, {Secret: secretB}}
	for _, f := range change {
		f(&d)
	}
	ep, err := endpoint.Compile(d)
	if err != nil {
		t.Fatal(err)
	}
	return ep
}

// clientFunc is the far side of HTTP.
type clientFunc func(*http.Request) (egress.Response, error)

func (f clientFunc) Do(r *http.Request) (egress.Response, error) { return f(r) }

func (f clientFunc) DoAs(r *http.Request, _ egress.Identity) (egress.Response, error) { return f(r) }

// answered returns the result of an attempt that got an answer.
func answered(t testing.TB, res egress.Response, err error) delivery.Result {
	t.Helper()
	s := NewSender(clientFunc(func(*http.Request) (egress.Response, error) { return res, err }), "test")
	return s.Attempt(t.Context(), given(), newEndpoint(t, "https://example.com"))
}

func within(t testing.TB, timeout time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}
