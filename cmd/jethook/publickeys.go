package main

import (
	"fmt"
	"time"

	"jethook/pkg/endpoint"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

// publicKey returns what receivers verify the signatures of an ed25519 secret with.
// It is empty for a secret that is shared with them, and for one that is sealed.
func publicKey(s secret.Secret) string {
	key, err := signature.ParseKey(s)
	if err != nil {
		return "" // sealed: what is not was read when it was stored
	}
	return key.Public()
}

// publicKeys returns the public keys of the endpoint's secrets that sign, in their
// order, and whether there may be more that nobody can tell here.
func publicKeys(d endpoint.Document, now time.Time) (keys []string, sealed bool) {
	for _, s := range d.Secrets {
		if s.Expired(now) {
			continue
		}
		sealed = sealed || s.Secret.Sealed() && d.Signing == endpoint.SigningV1a
		if key := publicKey(s.Secret); key != "" {
			keys = append(keys, key)
		}
	}
	return keys, sealed
}

// tellPublicKey tells people the public half of a signing secret, if it has one.
func (a *app) tellPublicKey(s secret.Secret) {
	if public := publicKey(s); public != "" {
		fmt.Fprintf(a.Out, "  for the receiver, to verify with: %s\n", public)
	}
}

// newSecret is what is told of a signing secret that was made.
func newSecret(s secret.Secret, more map[string]any) map[string]any {
	more["secret"] = s.Reveal()
	if public := publicKey(s); public != "" {
		more["public_key"] = public
	}
	return more
}
