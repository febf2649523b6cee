package endpoint

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"

	"jethook/pkg/secret"
)

// identity is a certificate that is its own authority, and its private key.
type identity struct{ cert, key string }

var identities = sync.OnceValues(func() ([2]identity, error) {
	var made [2]identity
	for i := range made {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return made, err
		}
		cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)},
			&x509.Certificate{SerialNumber: big.NewInt(1)}, &private.PublicKey, private)
		if err != nil {
			return made, err
		}
		key, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return made, err
		}
		made[i] = identity{
			string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
			string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		}
	}
	return made, nil
})

// testIdentity returns one of two, the same each time.
func testIdentity(t testing.TB, i int) identity {
	t.Helper()
	made, err := identities()
	if err != nil {
		t.Fatal(err)
	}
	return made[i]
}

// withCredentials gives a document a secret of every kind, and another auth for
// each kind of it. Their texts are canaries, as far as they can be.
func withCredentials(t testing.TB, d Document, auth string) Document {
	t.Helper()
	d.Secrets = secrets(testSecret, testPrivateKey)
	d.Headers = map[string]string{"X-Env": "CANARY-PROD", "x-api-KEY": "CANARY-HEADER"}
	d.ExtraSignatures = []ExtraSignature{
		{Header: "x-hub-signature-256", Secret: "CANARY-HUB", Value: "sha256={signature}"},
		{Header: "X-Shop", Secret: "CANARY-SHOP", Over: "{id}.{timestamp}.{body}", Encoding: EncodingBase64},
	}
	d.Contact = &Contact{Email: []string{"ops@example.com"}, Slack: "https://hooks.example.com/services/CANARY-SLACK"}
	id := testIdentity(t, 0)
	d.TLS = &TLS{Cert: id.cert, Key: secret.Secret(id.key), CA: id.cert}
	switch auth {
	case "basic":
		d.Auth = &Auth{Basic: &BasicAuth{User: "jethook", Password: "CANARY-PASSWORD"}}
	case "bearer":
		d.Auth = &Auth{Bearer: "CANARY-BEARER"}
	case "oauth2":
		d.Auth = &Auth{OAuth2: &OAuth2{TokenURL: "https://auth.example.com/token", ClientID: "jethook", ClientSecret: "CANARY-CLIENT",
			Scopes: []string{"hooks:write", "b"}, Audience: "https://crm.example.com"}}
	}
	return d
}

var authKinds = []string{"basic", "bearer", "oauth2"}

// canaries are parts of the secrets of withCredentials, long enough for none to be
// found by chance in what is random, such as a ciphertext.
func canaries(t testing.TB) []string {
	return []string{testSecret[6:], testPrivateKey[5:], testIdentity(t, 0).key[100:140], "CANARY-PROD", "CANARY-HEADER", "CANARY-HUB",
		"CANARY-SHOP", "CANARY-SLACK", "CANARY-PASSWORD", "CANARY-BEARER", "CANARY-CLIENT"}
}
