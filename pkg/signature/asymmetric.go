package signature

import (
	"crypto/ed25519"
	"encoding/base64"
	"slices"
)

// asymmetric is v1a: ed25519. Without a private key it only verifies. The keys are
// behind a pointer for the reason that Key tells.
type asymmetric struct{ *keyPair }

type keyPair struct {
	privateKey ed25519.PrivateKey
	publicKey  ed25519.PublicKey
}

func newAsymmetric(private ed25519.PrivateKey) *asymmetric {
	// The public key is the private key's second half.
	return &asymmetric{&keyPair{privateKey: private, publicKey: ed25519.PublicKey(private[ed25519.SeedSize:])}}
}

func (*asymmetric) version() string { return "v1a" }

func (a *asymmetric) public() string { return encode(publicPrefix, a.publicKey) }

func (a *asymmetric) canSign() bool { return a.privateKey != nil }

// appendSignature copies the body, because ed25519 reads the message twice and
// takes it in one piece.
func (a *asymmetric) appendSignature(dst, header, body []byte) []byte {
	signature := ed25519.Sign(a.privateKey, slices.Concat(header, body))
	return base64.StdEncoding.AppendEncode(dst, signature)
}

func (a *asymmetric) verifier(header, body []byte) func(string) bool {
	message := slices.Concat(header, body)
	// Strict, and of one length: otherwise a signature with other padding bits
	// or line breaks in it would pass for the same one.
	base64Strict := base64.StdEncoding.Strict()
	textLen := base64Strict.EncodedLen(ed25519.SignatureSize)
	return func(signature string) bool {
		if len(signature) != textLen {
			return false
		}
		b, err := base64Strict.DecodeString(signature)
		return err == nil && ed25519.Verify(a.publicKey, message, b)
	}
}
