package e2e

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
	stdlog "log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"jethook/pkg/secret"
)

// authority issues certificates for both sides.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.make(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.pem = a.encode("CERTIFICATE", a.cert.Raw)
	return a
}

// make signs a certificate with the authority's key, its own with itself.
func (a *authority) make(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	a.must(err)
	cert, err := x509.ParseCertificate(der)
	a.must(err)
	return cert, key
}

// issue returns a certificate and its key in PEM.
func (a *authority) issue(name string) (cert, key string) {
	a.t.Helper()
	made, private := a.make(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	a.must(err)
	return a.encode("CERTIFICATE", made.Raw), a.encode("PRIVATE KEY", der)
}

func (a *authority) encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func (a *authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// guests is a receiver that lets in who shows a certificate of the authority's, and
// remembers as whom each event came.
type guests struct {
	url string
	mu  sync.Mutex
	as  map[string]string
}

func newGuests(t *testing.T, a *authority) *guests {
	t.Helper()
	g := &guests{as: map[string]string{}}
	cert, key := a.issue("receiver")
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	a.must(err)
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	far := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.as[r.Header.Get("Webhook-Id")] = r.TLS.PeerCertificates[0].Subject.CommonName
	}))
	far.Config.ErrorLog = stdlog.New(io.Discard, "", 0) // of those that it turns away
	far.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	far.StartTLS()
	t.Cleanup(far.Close)
	g.url = far.URL
	return g
}

func (g *guests) came(id, as string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.as[id] != as {
		return fmt.Errorf("event %s came as %q", id, g.as[id])
	}
	return nil
}

// TestClientCertificates delivers to a receiver that wants one: each endpoint shows
// its own, be it in the document, sealed, or in files on the replica, which are read
// anew when they change; who shows none is turned away.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	far := newGuests(t, a)
	server := startNATS(t)
	r := serve(t, "NATS_URL="+server.url, masterKeys(secret.NewMasterKey()))
	_, js := connect(t, server.url)

	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		a.must(os.WriteFile(path(name)+".new", []byte(text), 0o600))
		a.must(os.Rename(path(name)+".new", path(name)))
	}
	cert, key := a.issue("from files")
	write("cert", cert)
	write("key", key)
	write("ca", a.pem)
	inline, inlineKey := a.issue("from the document")
	apply(t, server.url, strings.NewReplacer("FAR", far.url, "DIR", dir, "CA", fmt.Sprintf("%q", a.pem), "CERT", fmt.Sprintf("%q", inline), "KEY", fmt.Sprintf("%q", inlineKey)).Replace(`endpoints:
- {tenant: acme, id: files, url: 'FAR', events: [files], tls: {cert: 'file:DIR/cert', key: 'file:DIR/key', ca: 'file:DIR/ca'}}
- {tenant: acme, id: inline, url: 'FAR', events: [inline], tls: {cert: CERT, key: KEY, ca: CA}}
- {tenant: acme, id: nobody, url: 'FAR', events: [nobody], tls: {ca: CA}, retry: {schedule: [10ms]}}
`), r)
	publish(t, js, "files", "files", 1)
	publish(t, js, "inline", "inline", 1)
	publish(t, js, "nobody", "nobody", 1)
	for id, as := range map[string]string{"files-0": "from files", "inline-0": "from the document"} {
		eventually(t, id+" arrives", func() error { return far.came(id, as) })
	}
	awaitLetters(t, server.url, 1)
	if l := letters(t, server.url)[0]; l.Endpoint != "nobody" || far.came("nobody-0", "") != nil {
		t.Errorf("the dead letter is %+v", l)
	}

	cert, key = a.issue("from other files")
	write("key", key)
	write("cert", cert)
	n := 0
	eventually(t, "the new certificate is shown", func() error {
		n++
		publish(t, js, "files", fmt.Sprintf("again%d", n), 1)
		id := fmt.Sprintf("again%d-0", n)
		eventually(t, id+" arrives", func() error {
			if far.came(id, "") == nil {
				return fmt.Errorf("it has not come")
			}
			return nil
		})
		return far.came(id, "from other files")
	})
}
