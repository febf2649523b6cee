package webhook

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
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/secret"
)

// certifier signs certificates.
type certifier struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newCertifier(t *testing.T) *certifier {
	t.Helper()
	c := &certifier{}
	c.pem, c.key = c.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	block, _ := pem.Decode([]byte(c.pem))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	c.cert = cert
	return c
}

// sign makes a key and its certificate, which the first one signs itself.
func (c *certifier) sign(t *testing.T, template *x509.Certificate) (string, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, by := c.cert, c.key
	if parent == nil {
		parent, by = template, key
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), key
}

// issue makes a certificate for either side of a connection, and its key in PEM.
func (c *certifier) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	cert, private := c.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// guarded is a receiver that wants a certificate, and answers 500 and its name.
func (c *certifier) guarded(t *testing.T) string {
	t.Helper()
	cert, key := c.issue(t, "receiver")
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c.cert)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, "welcome ", r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL
}

func as(id endpoint.TLS) func(*endpoint.Document) {
	return func(d *endpoint.Document) { d.TLS = &id }
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + path
}

// An endpoint's certificate gets in where none else does, and its authorities
// vouch for the receiver where the system's do not.
func TestIdentity(t *testing.T) {
	ours, theirs := newCertifier(t), newCertifier(t)
	url := ours.guarded(t)
	cert, key := ours.issue(t, "jethook")
	strange, strangeKey := theirs.issue(t, "stranger")
	dir := t.TempDir()
	const in, refused = delivery.FaultNone, delivery.FaultTLS
	for name, c := range map[string]struct {
		tls  endpoint.TLS
		want delivery.Fault
		text string
	}{
		"text":               {endpoint.TLS{Cert: cert, Key: secret.Secret(key), CA: ours.pem}, in, "welcome jethook"},
		"files":              {endpoint.TLS{Cert: write(t, dir+"/c", cert), Key: secret.Secret(write(t, dir+"/k", key)), CA: write(t, dir+"/a", ours.pem)}, in, "welcome jethook"},
		"no certificate":     {endpoint.TLS{CA: ours.pem}, refused, ""},
		"another authority":  {endpoint.TLS{Cert: cert, Key: secret.Secret(key), CA: theirs.pem}, refused, "unknown authority"},
		"the system's":       {endpoint.TLS{Cert: cert, Key: secret.Secret(key)}, refused, "unknown authority"},
		"another's":          {endpoint.TLS{Cert: strange, Key: secret.Secret(strangeKey), CA: ours.pem}, refused, ""},
		"a file that is not": {endpoint.TLS{CA: "file:" + dir + "/missing"}, refused, "does not exist"},
		"a file of nonsense": {endpoint.TLS{CA: write(t, dir+"/n", "nonsense")}, refused, "PEM"},
		"nonsense":           {endpoint.TLS{CA: "nonsense"}, delivery.FaultInvalidRequest, "PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewSender(newClient(t), "test").Attempt(within(t, time.Minute), given(), newEndpoint(t, url, as(c.tls)))
			// A refusal may be overtaken by its hanging up.
			if r.Fault != c.want && (c.want != refused || c.text != "" || r.Fault != delivery.FaultClosed) || !strings.Contains(r.Error, c.text) {
				t.Errorf("%+v, want %q with %q", r, c.want, c.text)
			}
			if strings.Contains(r.Error, dir) || strings.Contains(r.Error, "PRIVATE") {
				t.Errorf("error %q", r.Error)
			}
		})
	}
	// Neither does who comes as nobody.
	if r := NewSender(newClient(t), "test").Attempt(within(t, time.Minute), given(), newEndpoint(t, url)); r.Fault != refused {
		t.Errorf("without an identity: %+v", r)
	}
}

// A certificate that is replaced in its file is used soon, by the same sender.
func TestIdentityIsReadAgain(t *testing.T) {
	c := newCertifier(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	put := func(name string) endpoint.TLS {
		cert, key := c.issue(t, name)
		return endpoint.TLS{Cert: write(t, at("c"), cert), Key: secret.Secret(write(t, at("k"), key)), CA: c.pem}
	}
	s := NewSender(newClient(t), "test")
	ep := newEndpoint(t, c.guarded(t), as(put("first")))
	ctx := within(t, 30*time.Second)
	if r := s.Attempt(ctx, given(), ep); !strings.HasSuffix(r.Error, "welcome first") {
		t.Fatalf("%+v", r)
	}
	put("second")
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for r := s.Attempt(ctx, given(), ep); !strings.HasSuffix(r.Error, "welcome second"); r = s.Attempt(ctx, given(), ep) {
		if ctx.Err() != nil || !strings.HasSuffix(r.Error, "welcome first") {
			t.Fatalf("%+v", r)
		}
		<-again.C
	}
}

// A token is fetched by nobody in particular: the identity is for the receiver.
func TestTokensNeedNoIdentity(t *testing.T) {
	c := newCertifier(t)
	cert, key := c.issue(t, "jethook")
	a := newAuthority(t, func(w http.ResponseWriter, _ *http.Request) { grants(w, "t1") })
	ep := newEndpoint(t, c.guarded(t), as(endpoint.TLS{Cert: cert, Key: secret.Secret(key), CA: c.pem}), withOAuth2(a.URL))
	if r := NewSender(newClient(t), "test").Attempt(within(t, time.Minute), given(), ep); !strings.HasSuffix(r.Error, "welcome jethook") {
		t.Errorf("%+v", r)
	}
}
