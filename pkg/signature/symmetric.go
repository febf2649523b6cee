package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"sync"
)

// symmetric is v1: HMAC-SHA256 with a secret that both sides hold, behind a pointer
// for the reason that Key tells.
type symmetric struct{ secret *block }

// block is a block of SHA-256. A secret has its length at the most, MaxSecretBytes,
// and zeros behind it.
type block [sha256.BlockSize]byte

func newSymmetric(secret []byte) *symmetric {
	s := &symmetric{new(block)}
	copy(s.secret[:], secret)
	return s
}

// mac computes HMACs (RFC 2104). Those of crypto/hmac are made for one secret each,
// of five allocations: too much where each of very many signs now and then.
type mac struct {
	hash  hash.Hash
	block block
	sum   [sha256.Size]byte
}

var macs = sync.Pool{New: func() any { return &mac{hash: sha256.New()} }}

// of returns the HMAC of two parts of a message, in a place of the mac's own.
func (m *mac) of(secret *block, header, body []byte) []byte {
	inner := m.hashed(secret, 0x36, header, body)
	return m.hashed(secret, 0x5c, inner)
}

func (m *mac) hashed(secret *block, pad byte, parts ...[]byte) []byte {
	for i := range secret {
		m.block[i] = secret[i] ^ pad
	}
	m.hash.Reset()
	// A hash never returns an error.
	_, _ = m.hash.Write(m.block[:])
	for _, part := range parts {
		_, _ = m.hash.Write(part)
	}
	return m.hash.Sum(m.sum[:0])
}

func (*symmetric) version() string { return "v1" }

func (*symmetric) public() string { return "" }

func (*symmetric) canSign() bool { return true }

func (s *symmetric) appendSignature(dst, header, body []byte) []byte {
	m := macs.Get().(*mac)
	defer macs.Put(m)
	return base64.StdEncoding.AppendEncode(dst, m.of(s.secret, header, body))
}

func (s *symmetric) verifier(header, body []byte) func(string) bool {
	want := s.appendSignature(nil, header, body)
	// The texts are compared, not what they decode to, which takes the same
	// time wherever they differ and leaves one way only to write a signature.
	return func(signature string) bool { return hmac.Equal([]byte(signature), want) }
}
