// Package egress is the only HTTP client of jethook. It promises three things
// about every exchange, however hostile the far side is:
//
//   - The address is judged at the moment of connecting, after DNS, by a
//     [Guard]: a name that resolves to a private, local or special address is
//     never connected to, whatever it resolved to a moment before.
//   - The deadline of the request's context covers everything: name lookup,
//     connecting, TLS, response headers and response body.
//   - Reads are bounded: 64 KiB of headers, 64 KiB of body, and of everything
//     that comes over a connection, asked for or not, an allowance for each
//     exchange on it. Nothing is decompressed, no redirect is followed, no proxy
//     is taken from the environment.
//
// An egress proxy by explicit configuration and TLS identities of endpoints
// change none of this, but for names: a proxy resolves those itself.
//
// What went wrong is told as a [Failure], classified once, here.
package egress
