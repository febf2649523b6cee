package signature

import "strconv"

// entryLen is room for one entry of a signature list, v1a's being the longest:
// a space, the version with its comma, and 64 bytes in base64.
const entryLen = 1 + 4 + 88

// Sign returns the value of the webhook-signature header: one signature per
// key, in the keys' order, each with its version before it. The id must not
// contain a full stop, the timestamp is the attempt's in Unix seconds, and the
// body is what is sent, byte for byte; it is only read, and only v1a copies it.
// Keys that cannot sign are left out.
func Sign(keys []Key, id string, timestamp int64, body []byte) string {
	// One buffer for the signed header and, after it, the list.
	buf := make([]byte, 0, len(id)+len(".-9223372036854775808.")+len(keys)*entryLen)
	buf = append(buf, id...)
	buf = append(buf, '.')
	buf = strconv.AppendInt(buf, timestamp, 10)
	buf = append(buf, '.')
	header := buf
	for _, k := range keys {
		if !k.CanSign() {
			continue
		}
		if len(buf) > len(header) {
			buf = append(buf, ' ')
		}
		buf = append(buf, k.Version()...)
		buf = append(buf, ',')
		buf = k.scheme.appendSignature(buf, header, body)
	}
	return string(buf[len(header):])
}
