package signature

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"jethook/pkg/secret"
)

// mustParse is ParseKey for texts that are known to be good.
func mustParse(tb testing.TB, s secret.Secret) Key {
	tb.Helper()
	k, err := ParseKey(s)
	if err != nil {
		tb.Fatalf("ParseKey: %v", err)
	}
	return k
}

// text makes a key's text of n bytes that count up.
func text(prefix string, n int) secret.Secret {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return secret.Secret(encode(prefix, b))
}

func TestParseKeyLengths(t *testing.T) {
	allowed := map[string]func(n int) bool{
		secretPrefix: func(n int) bool { return n >= 24 && n <= 64 },
		// 64 bytes that count up are no key: their halves do not belong
		// together.
		privatePrefix: func(n int) bool { return n == 32 },
		publicPrefix:  func(n int) bool { return n == 32 },
	}
	for prefix, ok := range allowed {
		for n := range 130 {
			k, err := ParseKey(text(prefix, n))
			if (err == nil) != ok(n) {
				t.Errorf("%s with %d bytes: %v", prefix, n, err)
			}
			if err != nil && k != (Key{}) {
				t.Errorf("%s with %d bytes: a key beside the error", prefix, n)
			}
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	good := text(secretPrefix, 32).Reveal()
	body := strings.TrimPrefix(good, secretPrefix)
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	foreign := bytes.Clone(key)
	foreign[63] ^= 1
	tests := map[string]struct {
		secret string
		want   string // what the message must say is allowed
	}{
		"empty":                {"", "must begin with whsec_"},
		"no prefix":            {body, "must begin with whsec_"},
		"other prefix":         {"whsecret_" + body, "whsk_ (ed25519 private key)"},
		"prefix in capitals":   {"WHSEC_" + body, "must begin with"},
		"space before":         {" " + good, "must begin with"},
		"prefix alone":         {"whsec_", "24 to 64 bytes in base64, this one is 0"},
		"too short":            {text(secretPrefix, 23).Reveal(), "24 to 64 bytes in base64, this one is 23"},
		"too long":             {text(secretPrefix, 65).Reveal(), "24 to 64 bytes in base64, this one is 65"},
		"space after":          {good + " ", "without spaces"},
		"line break after":     {good + "\n", "line breaks"},
		"line break within":    {good[:10] + "\r\n" + good[10:], "line breaks"},
		"no padding":           {strings.TrimRight(good, "="), "with padding"},
		"alphabet of URLs":     {secretPrefix + strings.Repeat("-_", 16), "standard base64"},
		"hexadecimal":          {secretPrefix + fmt.Sprintf("%x", make([]byte, 33)) + "=", "standard base64"},
		"private, wrong size":  {text(privatePrefix, 63).Reveal(), "64 bytes in base64, or the 32 bytes of its seed, this one is 63"},
		"private, other half":  {encode(privatePrefix, foreign), "copy the key again"},
		"public, wrong size":   {text(publicPrefix, 31).Reveal(), "32 bytes in base64, this one is 31"},
		"public, private size": {encode(publicPrefix, key), "32 bytes in base64, this one is 64"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKey(secret.Secret(tt.secret))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("ParseKey: %v, want %q", err, tt.want)
			}
			// Any four characters of the text would be too many.
			_, rest, _ := strings.Cut(tt.secret, "_")
			for i := 0; i+4 <= len(rest); i++ {
				if strings.Contains(err.Error(), rest[i:i+4]) {
					t.Fatalf("the message holds %q of the text: %v", rest[i:i+4], err)
				}
			}
		})
	}
}

func TestKeyFacts(t *testing.T) {
	const public = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
	seed := "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc="
	tests := map[string]struct {
		key             Key
		version, public string
		canSign         bool
	}{
		"secret":      {mustParse(t, text(secretPrefix, 24)), "v1", "", true},
		"private key": {mustParse(t, asymmetricSecret), "v1a", public, true},
		"seed":        {mustParse(t, secret.Secret(seed)), "v1a", public, true},
		"public key":  {mustParse(t, public), "v1a", public, false},
		"zero":        {Key{}, "", "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.key.Version(); got != tt.version {
				t.Errorf("Version() = %q, want %q", got, tt.version)
			}
			if got := tt.key.Public(); got != tt.public {
				t.Errorf("Public() = %q, want %q", got, tt.public)
			}
			if got := tt.key.CanSign(); got != tt.canSign {
				t.Errorf("CanSign() = %v, want %v", got, tt.canSign)
			}
		})
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	f.Add(string(asymmetricSecret))
	f.Add("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=")
	f.Add("whsec_")
	f.Add("whsk_====")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseKey(secret.Secret(s))
		if err != nil {
			// Of the parts of a message only the prefix comes from the text.
			_, rest, _ := strings.Cut(s, "_")
			if len(rest) >= 16 && strings.Contains(err.Error(), rest) {
				t.Errorf("the message holds the text: %v", err)
			}
			return
		}
		_, rest, _ := strings.Cut(s, "_")
		if _, err := base64.StdEncoding.DecodeString(rest); err != nil {
			t.Errorf("accepted %q, which is no base64", s)
		}
		if !k.CanSign() {
			return
		}
		header := Sign([]Key{k}, "evt_01", 1700000000, []byte(s))
		check := []Key{k}
		if k.Public() != "" {
			check = []Key{mustParse(t, secret.Secret(k.Public()))}
		}
		if err := verifyAt(check, "evt_01", "1700000000", header, []byte(s)); err != nil {
			t.Errorf("a signature made with a parsed key does not verify: %v", err)
		}
	})
}
