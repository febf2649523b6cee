// Package egress is the only HTTP client of jethook. It promises three things
// about every exchange, however hostile the far side is:
//
//   - The address is judged at the moment of connecting, after DNS, by a
//     [Guard]: a name that resolves to a private, local or special address is
//     never connected to, whatever it resolved to a moment before.
//   - The deadline of the request's context covers everything: name lookup,
//     connecting, TLS, response headers and response body.
//   - Reads are bounded: 64 KiB of headers, 64 KiB of body, nothing is
//     decompressed, no redirect is followed, no proxy is taken from the
//     environment.
//
// What went wrong is told as a [Failure], classified once, here.
package egress
