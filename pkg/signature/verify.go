package signature

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far a request's timestamp may lie from the receiver's
// clock, before it or after it: enough for clocks that differ, too little for
// a request that was overheard and is sent again later.
const Tolerance = 5 * time.Minute

// What Verify refuses a request for. The errors that it returns wrap one of
// these and say more.
var (
	// ErrMissingHeader: the id, the timestamp or the signature is missing.
	ErrMissingHeader = errors.New("a webhook header is missing")
	// ErrID: the id contains a full stop, which makes it ambiguous where the
	// id ends and the timestamp begins.
	ErrID = errors.New("webhook-id is not allowed")
	// ErrTimestamp: the timestamp is no number of seconds, too old or too new.
	ErrTimestamp = errors.New("webhook-timestamp is not allowed")
	// ErrNoMatch: none of the signatures belongs to any of the keys.
	ErrNoMatch = errors.New("no signature matches")
)

// maxTimestampDigits reaches the year 33658, and is short of the 13 digits of
// a time in milliseconds, which is the usual mistake.
const maxTimestampDigits = 12

// Verify returns nil when at least one of the signatures was made with one of
// the keys for this id, timestamp and body, and the timestamp lies within the
// tolerance of now, before or after. The three strings are the headers
// webhook-id, webhook-timestamp and webhook-signature as they came; entries of
// a version that no key has are passed over. Comparing takes the same time
// wherever a signature differs.
func Verify(keys []Key, id, timestamp, signatures string, body []byte, now time.Time, tolerance time.Duration) error {
	if err := checkPresent(id, timestamp, signatures); err != nil {
		return err
	}
	if strings.Contains(id, ".") {
		return fmt.Errorf("%w: it must not contain a full stop", ErrID)
	}
	if err := checkTimestamp(timestamp, now, tolerance); err != nil {
		return err
	}
	// The timestamp as it came, not as it reads: that is what was signed.
	header := []byte(id + "." + timestamp + ".")
	for _, k := range keys {
		if k.scheme != nil && k.matchesAny(signatures, header, body) {
			return nil
		}
	}
	return fmt.Errorf("%w: it must be made over the body as it came, unparsed, with one of the keys given here (%d)",
		ErrNoMatch, len(keys))
}

// matchesAny says whether one entry of the list is the key's own signature.
func (k Key) matchesAny(signatures string, header, body []byte) bool {
	matches := k.scheme.verifier(header, body)
	for entry := range strings.SplitSeq(signatures, " ") {
		version, signature, ok := strings.Cut(entry, ",")
		if ok && version == k.scheme.version() && matches(signature) {
			return true
		}
	}
	return false
}

func checkPresent(id, timestamp, signatures string) error {
	switch "" {
	case id:
		return fmt.Errorf("%w: webhook-id", ErrMissingHeader)
	case timestamp:
		return fmt.Errorf("%w: webhook-timestamp", ErrMissingHeader)
	case signatures:
		return fmt.Errorf("%w: webhook-signature", ErrMissingHeader)
	}
	return nil
}

func checkTimestamp(timestamp string, now time.Time, tolerance time.Duration) error {
	seconds, err := strconv.ParseUint(timestamp, 10, 63)
	if err != nil || len(timestamp) > maxTimestampDigits {
		return fmt.Errorf("%w: it must be Unix seconds in at most %d digits", ErrTimestamp, maxTimestampDigits)
	}
	at := time.Unix(int64(seconds), 0)
	switch age := now.Sub(at); {
	case age > tolerance:
		return fmt.Errorf("%w: %s is more than %v ago: a repeated request, or a clock that is wrong",
			ErrTimestamp, at.UTC().Format(time.RFC3339), tolerance)
	case age < -tolerance:
		return fmt.Errorf("%w: %s is more than %v ahead: a clock is wrong",
			ErrTimestamp, at.UTC().Format(time.RFC3339), tolerance)
	}
	return nil
}
