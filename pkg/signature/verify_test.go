package signature

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"jethook/pkg/secret"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

var noon = time.Unix(1700000000, 0)

// verifyAt verifies at the time of the timestamp 1700000000.
func verifyAt(keys []Key, id, timestamp, signatures string, body []byte) error {
	return Verify(keys, id, timestamp, signatures, body, noon, Tolerance)
}

// kinds pairs what signs with what its receiver verifies with.
func kinds(tb testing.TB) map[string]struct{ sender, receiver Key } {
	v1, v1a := mustParse(tb, symmetricSecret), mustParse(tb, asymmetricSecret)
	return map[string]struct{ sender, receiver Key }{
		"v1":                  {v1, v1},
		"v1a":                 {v1a, v1a},
		"v1a, public key":     {v1a, mustParse(tb, secret.Secret(v1a.Public()))},
		"v1a, without a half": {v1a, mustParse(tb, "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=")},
	}
}

func TestVerifyList(t *testing.T) {
	v1, v1a := mustParse(t, symmetricSecret), mustParse(t, asymmetricSecret)
	old := mustParse(t, text(secretPrefix, 40))
	public := mustParse(t, secret.Secret(v1a.Public()))
	body := []byte("{}")
	sign := func(keys ...Key) string { return Sign(keys, "evt_01", noon.Unix(), body) }
	bare := strings.TrimPrefix(sign(v1), "v1,")
	tests := map[string]struct {
		keys       []Key
		signatures string
		want       error
	}{
		"one of one":               {[]Key{v1}, sign(v1), nil},
		"second signature":         {[]Key{v1}, sign(old, v1), nil},
		"second key":               {[]Key{old, v1}, sign(v1), nil},
		"other kind beside it":     {[]Key{v1}, sign(v1a, v1), nil},
		"public key":               {[]Key{public}, sign(v1, v1a), nil},
		"unknown version before":   {[]Key{v1}, "v2,AAAA v1b,?? " + sign(v1), nil},
		"unknown version after":    {[]Key{v1}, sign(v1) + " v9", nil},
		"spaces around":            {[]Key{v1}, "  " + sign(v1) + " ", nil},
		"zero key is passed over":  {[]Key{{}, v1}, sign(v1), nil},
		"no keys":                  {nil, sign(v1), ErrNoMatch},
		"zero key alone":           {[]Key{{}}, sign(v1), ErrNoMatch},
		"other key":                {[]Key{old}, sign(v1), ErrNoMatch},
		"unknown version":          {[]Key{v1}, "v2," + bare, ErrNoMatch},
		"other key's version":      {[]Key{v1}, "v1a," + bare, ErrNoMatch},
		"version in capitals":      {[]Key{v1}, "V1," + bare, ErrNoMatch},
		"no version":               {[]Key{v1}, bare, ErrNoMatch},
		"empty version, zero key":  {[]Key{{}}, ",", ErrNoMatch},
		"empty signature":          {[]Key{v1, v1a}, "v1, v1a,", ErrNoMatch},
		"cut short":                {[]Key{v1}, sign(v1)[:30], ErrNoMatch},
		"more behind it":           {[]Key{v1}, sign(v1) + "A", ErrNoMatch},
		"commas instead of spaces": {[]Key{v1}, sign(old) + "," + sign(v1), ErrNoMatch},
		"v1a, line break in it":    {[]Key{v1a}, sign(v1a)[:20] + "\n" + sign(v1a)[20:], ErrNoMatch},
		"v1a, a byte short":        {[]Key{v1a}, "v1a," + strings.Repeat("A", 84), ErrNoMatch},
		"v1a, no base64":           {[]Key{v1a}, "v1a," + strings.Repeat("?", 88), ErrNoMatch},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := verifyAt(tt.keys, "evt_01", "1700000000", tt.signatures, body); !errors.Is(err, tt.want) {
				t.Errorf("Verify() = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestVerifyHeaders(t *testing.T) {
	keys := []Key{mustParse(t, symmetricSecret)}
	tests := map[string]struct {
		id, timestamp, signatures string
		want                      error
		says                      string
	}{
		"no id":             {"", "1700000000", "v1,x", ErrMissingHeader, "webhook-id"},
		"no timestamp":      {"evt_01", "", "v1,x", ErrMissingHeader, "webhook-timestamp"},
		"no signature":      {"evt_01", "1700000000", "", ErrMissingHeader, "webhook-signature"},
		"full stop in id":   {"evt.01", "1700000000", "v1,x", ErrID, "full stop"},
		"milliseconds":      {"evt_01", "1700000000000", "v1,x", ErrTimestamp, "Unix seconds"},
		"fraction":          {"evt_01", "1700000000.5", "v1,x", ErrTimestamp, "Unix seconds"},
		"negative":          {"evt_01", "-1", "v1,x", ErrTimestamp, "Unix seconds"},
		"with a sign":       {"evt_01", "+1700000000", "v1,x", ErrTimestamp, "Unix seconds"},
		"with a space":      {"evt_01", " 1700000000", "v1,x", ErrTimestamp, "Unix seconds"},
		"RFC 3339":          {"evt_01", "2023-11-14T22:13:20Z", "v1,x", ErrTimestamp, "Unix seconds"},
		"far too many":      {"evt_01", strings.Repeat("9", 50), "v1,x", ErrTimestamp, "Unix seconds"},
		"year 33658":        {"evt_01", "999999999999", "v1,x", ErrTimestamp, "ahead"},
		"zero":              {"evt_01", "0", "v1,x", ErrTimestamp, "1970-01-01T00:00:00Z is more than 5m0s ago"},
		"no such signature": {"evt_01", "1700000000", "v1,x", ErrNoMatch, "one of the keys given here (1)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := verifyAt(keys, tt.id, tt.timestamp, tt.signatures, nil)
			if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("Verify() = %v, want %v and %q", err, tt.want, tt.says)
			}
		})
	}
}

func TestVerifyTolerance(t *testing.T) {
	keys := []Key{mustParse(t, symmetricSecret)}
	tests := map[string]struct {
		offset    time.Duration // of the receiver's clock
		tolerance time.Duration
		ok        bool
	}{
		"same time":         {0, Tolerance, true},
		"just old enough":   {5 * time.Minute, Tolerance, true},
		"too old":           {5*time.Minute + 1, Tolerance, false},
		"just new enough":   {-5 * time.Minute, Tolerance, true},
		"too new":           {-5*time.Minute - 1, Tolerance, false},
		"no tolerance":      {1, 0, false},
		"exact":             {0, 0, true},
		"wide":              {24 * time.Hour, 48 * time.Hour, true},
		"as wide as can be": {1<<63 - 1, 1<<63 - 1, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			header := Sign(keys, "evt_01", noon.Unix(), nil)
			err := Verify(keys, "evt_01", "1700000000", header, nil, noon.Add(tt.offset), tt.tolerance)
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, ErrTimestamp) {
				t.Errorf("Verify() = %v", err)
			}
		})
	}
}

// TestVerifyNoticesEveryByte changes each byte of each part, one at a time.
func TestVerifyNoticesEveryByte(t *testing.T) {
	for name, kind := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			body := []byte(`{"order":7,"paid":true}`)
			header := Sign([]Key{kind.sender}, "evt_01", noon.Unix(), body)
			parts := [][]byte{[]byte("evt_01"), []byte("1700000000"), []byte(header), body}
			verify := func(p [][]byte) error {
				// The widest tolerance: it is the signature that must notice.
				return Verify([]Key{kind.receiver}, string(p[0]), string(p[1]), string(p[2]), p[3], noon, 1<<63-1)
			}
			if err := verify(parts); err != nil {
				t.Fatalf("unchanged: Verify() = %v", err)
			}
			for part := range parts {
				for i := range parts[part] {
					for _, change := range []byte{1, 2, 4, 8, 16, 32, 64, 128} {
						changed := slices.Clone(parts)
						changed[part] = bytes.Clone(parts[part])
						changed[part][i] ^= change
						if verify(changed) == nil {
							t.Errorf("part %d, byte %d: %q passes for %q", part, i, changed[part], parts[part])
						}
					}
				}
				longer := slices.Clone(parts)
				longer[part] = append(bytes.Clone(parts[part]), '0')
				if verify(longer) == nil {
					t.Errorf("part %d: %q passes for %q", part, longer[part], parts[part])
				}
			}
		})
	}
}

// TestVerifyAgreesWithTheLibrary lets each side verify what the other signed.
func TestVerifyAgreesWithTheLibrary(t *testing.T) {
	secret := NewSecret()
	keys := []Key{mustParse(t, secret), mustParse(t, NewSigningKey())}
	library, err := standardwebhooks.NewWebhook(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	timestamp := strconv.FormatInt(now.Unix(), 10)
	for size := range 200 {
		body := bytes.Repeat([]byte{byte(size)}, size)
		headers := http.Header{}
		headers.Set("webhook-id", "evt_01")
		headers.Set("webhook-timestamp", timestamp)
		headers.Set("webhook-signature", Sign(keys, "evt_01", now.Unix(), body))
		if err := library.Verify(body, headers); err != nil {
			t.Fatalf("body of %d: the library refuses: %v", size, err)
		}
		theirs, err := library.Sign("evt_01", now, body)
		if err != nil {
			t.Fatal(err)
		}
		if err := Verify(keys, "evt_01", timestamp, theirs, body, now, Tolerance); err != nil {
			t.Fatalf("body of %d: Verify() = %v for the library's signature", size, err)
		}
	}
}

// FuzzVerify holds that whatever is accepted was really signed: the right
// signature is somewhere in the list, and the standard's library agrees.
func FuzzVerify(f *testing.F) {
	keys := []Key{mustParse(f, symmetricSecret), mustParse(f, asymmetricSecret)}
	library, err := standardwebhooks.NewWebhook(symmetricSecret.Reveal())
	if err != nil {
		f.Fatal(err)
	}
	good := Sign(keys, "evt_01", noon.Unix(), []byte("{}"))
	f.Add("evt_01", "1700000000", good, []byte("{}"))
	f.Add("evt_01", "1700000000", "v2,x "+good, []byte("{}"))
	f.Add("evt", "01", "v1,", []byte(nil))
	f.Add("a.b", "-1", "v1a,====", []byte("x"))
	f.Fuzz(func(t *testing.T, id, timestamp, signatures string, body []byte) {
		// Whether a time is near enough is not asked here. A tolerance as long
		// as durations get would not do: times lie further apart.
		seconds, parseErr := strconv.ParseInt(timestamp, 10, 64)
		then := time.Unix(seconds, 0)
		if Verify(keys, id, timestamp, signatures, body, then, Tolerance) == nil {
			v1, v1a, _ := strings.Cut(Sign(keys, id, seconds, body), " ")
			entries := strings.Split(signatures, " ")
			if parseErr != nil || !slices.Contains(entries, v1) && !slices.Contains(entries, v1a) {
				t.Errorf("accepted %q for %q, %q, %q", signatures, id, timestamp, body)
			}
			headers := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {timestamp}, "Webhook-Signature": {signatures}}
			if slices.Contains(entries, v1) && library.VerifyIgnoringTimestamp(body, headers) != nil {
				t.Errorf("the library refuses what was accepted: %q", signatures)
			}
		}
		if parseErr == nil && seconds >= 0 && len(timestamp) <= maxTimestampDigits && id != "" && !strings.Contains(id, ".") {
			canonical := strconv.FormatInt(seconds, 10)
			if err := Verify(keys, id, canonical, Sign(keys, id, seconds, body), body, then, Tolerance); err != nil {
				t.Errorf("refused its own signature for %q, %q: %v", id, canonical, err)
			}
		}
	})
}
