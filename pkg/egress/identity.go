package egress

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"jethook/pkg/secret"
)

// maxFile bounds a file of an identity.
const maxFile = 1 << 20

// Identity is who we are to a receiver over TLS, and whom we take for it. Each
// field is text in PEM, or "file:" and a path, whose content is read again when
// it changes. Two identities are the same if their fields are.
type Identity struct {
	// Cert and Key are the client's certificate, with the authorities between it
	// and a root that the receiver knows, and its private key. They go together.
	Cert string
	Key  secret.Secret
	// CA holds the authorities that the receiver's certificate is verified with,
	// instead of those of [Options].
	CA string
}

// onFiles says whether any part of the identity can change.
func (id Identity) onFiles() bool {
	return strings.HasPrefix(id.Cert, "file:") || strings.HasPrefix(id.Key.Reveal(), "file:") || strings.HasPrefix(id.CA, "file:")
}

// read returns the identity with each file's content in place of its name. Its
// errors, as those of config, are words for the endpoint's owner: they name the
// field and neither the path nor what was found there.
func (id Identity) read() (Identity, error) {
	cert, certErr := content("certificate", id.Cert)
	key, keyErr := content("key", id.Key.Reveal())
	ca, caErr := content("authorities", id.CA)
	return Identity{Cert: cert, Key: secret.Secret(key), CA: ca}, cmp.Or(certErr, keyErr, caErr)
}

func content(field, value string) (string, error) {
	path, isFile := strings.CutPrefix(value, "file:")
	if !isFile {
		return value, nil
	}
	// Opening a pipe would wait for its writer, maybe for ever, but for O_NONBLOCK; and
	// what was opened is looked at, because the path may name something else by then.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("the file of the TLS %s does not exist", field)
	}
	if err != nil {
		return "", fmt.Errorf("the file of the TLS %s cannot be read", field)
	}
	defer func() { _ = f.Close() }() // only read
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("the file of the TLS %s cannot be read", field)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil || len(data) > maxFile {
		return "", fmt.Errorf("the file of the TLS %s cannot be read, or is over %d KiB", field, maxFile>>10)
	}
	return string(data), nil
}

// config makes a TLS configuration of an identity that was read.
func (id Identity) config(roots *x509.CertPool) (*tls.Config, error) {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots,
		ClientSessionCache: tls.NewLRUClientSessionCache(64),
	}
	if (id.Cert == "") != (id.Key == "") {
		return nil, errors.New("a TLS certificate and its key go together, and one is missing")
	}
	if id.Cert != "" {
		if _, err := certificates(id.Cert); err != nil {
			return nil, fmt.Errorf("the TLS certificate is %w", err)
		}
		// The error would say what was found instead of a key.
		pair, err := tls.X509KeyPair([]byte(id.Cert), []byte(id.Key.Reveal()))
		if err != nil {
			return nil, errors.New("the TLS key is not the certificate's private key in PEM, without a passphrase")
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if id.CA != "" {
		list, err := certificates(id.CA)
		if err != nil {
			return nil, fmt.Errorf("the TLS authorities are %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		for _, cert := range list {
			config.RootCAs.AddCert(cert)
		}
	}
	return config, nil
}

// certificates reads all certificates of a text in PEM, at least one.
func certificates(text string) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("damaged")
		}
		list = append(list, cert)
	}
	if len(list) == 0 {
		return nil, errors.New("not in PEM, which begins with -----BEGIN CERTIFICATE-----")
	}
	return list, nil
}
