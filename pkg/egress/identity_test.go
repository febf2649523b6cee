package egress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"jethook/pkg/secret"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// issue makes a certificate and its key, in PEM, good for either side.
func (a *authority) issue(t testing.TB, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func (a *authority) identity(t testing.TB, name string) Identity {
	cert, key := a.issue(t, name)
	return Identity{Cert: cert, Key: secret.Secret(key), CA: a.pem}
}

// whoami is a receiver that wants a client certificate of the authority's, and
// answers with its name and the connection it came over.
func whoami(t testing.TB, a *authority) *httptest.Server {
	t.Helper()
	pair, err := tls.X509KeyPair(both(a.issue(t, "server")))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = silent
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

func both(a, b string) (x, y []byte) { return []byte(a), []byte(b) }

func doAs(t testing.TB, c *Client, url string, id Identity) (string, error) {
	t.Helper()
	res, err := c.DoAs(post(t, url, "{}", leisure), id)
	return string(res.Body), err
}

// Each identity is shown by its own requests and by no others, at once and in
// turn, and nobody without one gets in.
func TestIdentitiesDoNotMix(t *testing.T) {
	a := newAuthority(t, "authority")
	srv := whoami(t, a)
	c := newTestClient(t, Options{Allow: loopback})
	var all sync.WaitGroup
	for i := range 8 {
		name := fmt.Sprint("client ", i)
		id := a.identity(t, name)
		all.Go(func() {
			for range 10 {
				if got, err := doAs(t, c, srv.URL, id); got != name || err != nil {
					t.Errorf("%s came as %q, %v (%v)", name, got, err, cause(err))
				}
			}
		})
	}
	all.Wait()
	if len(c.identities.all) != 8 {
		t.Errorf("%d transports for 8 identities", len(c.identities.all))
	}
	stranger := newAuthority(t, "stranger").identity(t, "stranger")
	stranger.CA = a.pem
	for _, id := range []Identity{{CA: a.pem}, stranger} {
		// The receiver's refusal may be overtaken by its hanging up.
		if _, err := doAs(t, c, srv.URL, id); Classify(err) != TLS && Classify(err) != Closed {
			t.Errorf("without a certificate of the authority's: %v, want %s", err, TLS)
		}
	}
}

// An identity's authorities stand in place of the others, both ways.
func TestIdentityHasAuthoritiesOfItsOwn(t *testing.T) {
	a := newAuthority(t, "authority")
	srv := whoami(t, a)
	id := a.identity(t, "client")
	c := newTestClient(t, Options{Allow: loopback, RootCAs: zooRoots()})
	if got, err := doAs(t, c, srv.URL, id); got != "client" {
		t.Errorf("%q, %v", got, err)
	}
	id.CA = ""
	if _, err := doAs(t, c, srv.URL, id); Classify(err) != TLS || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("with other authorities: %v", err)
	}
	public := httptest.NewTLSServer(http.NotFoundHandler())
	public.Config.ErrorLog = silent
	defer public.Close()
	if _, err := doAs(t, c, public.URL, Identity{CA: a.pem}); Classify(err) != TLS || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a receiver of other authorities: %v", err)
	}
	if res, err := c.DoAs(post(t, public.URL, "{}", leisure), Identity{}); res.Status != 404 {
		t.Errorf("no identity: %d, %v; want what Do does", res.Status, err)
	}
}

// The guard, the bounds and plain http's refusal hold under any identity.
func TestIdentityOpensNothing(t *testing.T) {
	a := newAuthority(t, "authority")
	id := a.identity(t, "client")
	c := New(Options{})
	defer c.Close()
	if _, err := doAs(t, c, whoami(t, a).URL, id); Classify(err) != BlockedAddress {
		t.Errorf("%v, want %s", err, BlockedAddress)
	}
	if _, err := doAs(t, c, "http://8.8.8.8/", id); Classify(err) != InvalidRequest {
		t.Errorf("%v, want %s", err, InvalidRequest)
	}
	transport, release, err := c.identities.acquire(id)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if transport.TLSClientConfig.InsecureSkipVerify || transport.TLSClientConfig.MinVersion != tls.VersionTLS12 || transport.MaxResponseHeaderBytes != maxHeader || !transport.DisableCompression || transport.Proxy != nil {
		t.Errorf("a bound is missing: %+v", transport)
	}
}

func TestIdentitiesThatCannotBeUsed(t *testing.T) {
	a := newAuthority(t, "authority")
	cert, key := a.issue(t, "client")
	_, other := a.issue(t, "other")
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file:" + path
	}
	pipe := filepath.Join(dir, "pipe")
	if out, err := exec.CommandContext(t.Context(), "mkfifo", pipe).CombinedOutput(); err != nil {
		t.Logf("no pipe to be tried here: %v %s", err, out)
	}
	c := newTestClient(t, Options{Allow: loopback})
	for _, tt := range []struct {
		name  string
		id    Identity
		words string
	}{
		{"no key", Identity{Cert: cert}, "go together"},
		{"no certificate", Identity{Key: secret.Secret(key)}, "go together"},
		{"another key", Identity{Cert: cert, Key: secret.Secret(other)}, "is not the certificate's private key"},
		{"no PEM for a key", Identity{Cert: cert, Key: "canary"}, "is not the certificate's private key"},
		{"the key first", Identity{Cert: key, Key: secret.Secret(cert)}, "BEGIN CERTIFICATE"},
		{"no PEM", Identity{Cert: "canary", Key: "canary"}, "BEGIN CERTIFICATE"},
		{"a damaged certificate", Identity{Cert: "-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n", Key: secret.Secret(key)}, "damaged"},
		{"no authorities", Identity{CA: "canary"}, "authorities are not in PEM"},
		{"damaged authorities", Identity{CA: a.pem + "-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n"}, "authorities are damaged"},
		{"no file", Identity{CA: "file:" + filepath.Join(dir, "canary")}, "does not exist"},
		{"no path", Identity{CA: "file:"}, "does not exist"},
		{"a directory", Identity{CA: "file:" + dir}, "cannot be read"},
		{"a pipe", Identity{CA: "file:" + pipe}, ""}, // which nobody writes to
		{"a device", Identity{CA: "file:/dev/zero"}, "cannot be read"},
		{"a file too large", Identity{CA: file("large", strings.Repeat("canary", maxFile/6+1))}, "over 1024 KiB"},
		{"a file of something else", Identity{Cert: file("x", "canary"), Key: secret.Secret(file("y", "canary"))}, "BEGIN CERTIFICATE"},
	} {
		_, err := doAs(t, c, "https://127.0.0.1:1/", tt.id)
		text := fmt.Sprintf("%v %+v %v", err, cause(err), tt.id.Key)
		if Classify(err) != InvalidRequest || !strings.Contains(text, tt.words) {
			t.Errorf("%s: %q (%v), want %q with %q", tt.name, Classify(err), err, InvalidRequest, tt.words)
		}
		if strings.Contains(text, "canary") || strings.Contains(text, dir) || strings.Contains(text, "PRIVATE") {
			t.Errorf("%s: %q says too much", tt.name, text)
		}
	}
	if len(c.identities.all) != 0 {
		t.Errorf("%d identities are kept that cannot be used", len(c.identities.all))
	}
}

// A connection lasts as long as it is good, not a request; and an exchange that
// is under way keeps the identity it began with.
func TestIdentityKeepsItsConnection(t *testing.T) {
	a := newAuthority(t, "authority")
	srv := whoami(t, a)
	var conns int
	c := newTestClient(t, Options{Allow: loopback})
	c.dialer.passed = func(string, string) error { conns++; return nil }
	id := a.identity(t, "client")
	for range 10 {
		if got, err := doAs(t, c, srv.URL, id); got != "client" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if conns != 1 {
		t.Errorf("%d connections for 10 requests in a row, want 1", conns)
	}
}
