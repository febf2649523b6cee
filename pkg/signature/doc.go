// Package signature promises that what [Sign] makes, any verifier of Standard
// Webhooks 1.0.0 accepts, that [Verify] accepts nothing else, and that no key
// reaches a log line, an error or a page by accident.
//
// A signature covers the event's id, the time of the attempt and the body,
// byte for byte as they are sent. There are two kinds: v1 is HMAC-SHA256 with
// a secret that sender and receiver share, v1a is ed25519, whose receiver
// holds a public key only. A request may carry several signatures, and one
// that fits is enough: so keys are changed without a gap.
//
// The package reads no clock. Functions are safe for concurrent use, and so is
// a [Key].
package signature
