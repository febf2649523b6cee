package secret

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestSealAndOpen(t *testing.T) {
	ring := mustParse(t, firstKey+","+secondKey)
	form := regexp.MustCompile(`^sealed:v1:57fd2b3b:[A-Za-z0-9_-]+$`)
	for name, tt := range map[string]struct {
		text  Secret
		about string
	}{
		"a signing secret": {plain, about},
		"nothing":          {"", about},
		"about nothing":    {plain, ""},
		"beyond ASCII":     {"pässwörd ☃", "größe/☃ auth"},
		"any bytes":        {"\x00\xff\n\r\x80", "\x00\xff"},
		"large":            {Secret(strings.Repeat("PEM\n", 64<<10)), about},
		"nearly sealed":    {"sealed", about},
		"sealed inside":    {" " + firstSealed, about},
	} {
		t.Run(name, func(t *testing.T) {
			sealed := mustSeal(t, ring.Sealer(), tt.text, tt.about)
			if !sealed.Sealed() || !form.MatchString(sealed.Reveal()) || sealed.KeyID() != "57fd2b3b" {
				t.Errorf("has the form %.40s and key id %q", sealed.Reveal(), sealed.KeyID())
			}
			// A few letters may be there by chance.
			if strings.Contains(sealed.Reveal()[len(sealedV1):], tt.text.Reveal()) && len(tt.text) > 8 {
				t.Error("the text shows")
			}
			if got, err := ring.Open(sealed, tt.about); err != nil || got != tt.text {
				t.Errorf("does not open: %v", err)
			}
			if again := mustSeal(t, ring.Sealer(), tt.text, tt.about); again == sealed {
				t.Error("the same secret is sealed to the same text twice")
			}
		})
	}
}

// What lies in a bucket must open for good: these texts are from the day on which
// the form was fixed.
func TestOpensWhatWasSealedOnce(t *testing.T) {
	for sealed, ring := range map[Secret]*Ring{firstSealed: mustParse(t, firstKey), secondSealed: mustParse(t, secondKey)} {
		if got, err := ring.Open(sealed, about); err != nil || got != plain {
			t.Errorf("%s does not open: %v", sealed.Reveal(), err)
		}
	}
}

func TestRotation(t *testing.T) {
	old := mustParse(t, secondKey)
	during := mustParse(t, firstKey+","+secondKey)
	after := mustParse(t, firstKey)
	before := mustSeal(t, old.Sealer(), plain, about)
	if got, err := during.Open(before, about); err != nil || got != plain {
		t.Errorf("what the old key sealed does not open: %v", err)
	}
	if during.Current(before) || !during.Opens(before) {
		t.Error("what the old key sealed counts as sealed with the new one, or is said not to open")
	}
	anew := mustSeal(t, during.Sealer(), plain, about)
	if !during.Current(anew) {
		t.Error("the first key does not seal")
	}
	if got, err := after.Open(anew, about); err != nil || got != plain {
		t.Errorf("what was sealed anew does not open without the old key: %v", err)
	}
	for ring, sealed := range map[*Ring]Secret{after: before, old: anew} {
		if got, err := ring.Open(sealed, about); !errors.Is(err, ErrNoKey) || got != "" {
			t.Errorf("opens without its key: %v", err)
		}
	}
}

// sealWith seals what Seal would not, as others who have the public key can.
func sealWith(t *testing.T, s Sealer, purpose string, text Secret) Secret {
	t.Helper()
	public, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(s.key[:])
	if err != nil {
		t.Fatal(err)
	}
	encapsulated, sender, err := hpke.NewSender(public, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(purpose))
	if err != nil {
		t.Fatal(err)
	}
	ciphertext, err := sender.Seal([]byte(about), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Secret("sealed:v1:" + s.ID() + ":" + base64.RawURLEncoding.EncodeToString(append(encapsulated, ciphertext...)))
}

func TestOpenRefuses(t *testing.T) {
	ring := mustParse(t, firstKey+","+secondKey)
	body := firstSealed[len("sealed:v1:57fd2b3b:"):]
	if got, err := ring.Open(sealWith(t, ring.Sealer(), purpose, plain), about); err != nil || got != plain {
		t.Fatalf("what others seal does not open: %v", err)
	}
	for name, tt := range map[string]struct {
		ring  *Ring
		text  Secret
		about string
		want  error
		says  string
	}{
		"another about":      {ring, firstSealed, "acme/erp secrets", ErrDamaged, `57fd2b3b as "acme/erp secrets"`},
		"a part of about":    {ring, firstSealed, "acme/crm", ErrDamaged, "changed"},
		"about nothing":      {ring, firstSealed, "", ErrDamaged, "changed"},
		"a seal in a seal":   {ring, sealWith(t, ring.Sealer(), purpose, firstSealed), about, ErrDamaged, "changed"},
		"another purpose":    {ring, sealWith(t, ring.Sealer(), "jethook sealing v2", plain), about, ErrDamaged, "changed"},
		"another key's id":   {ring, "sealed:v1:20787270:" + body, about, ErrDamaged, "20787270"},
		"an unknown id":      {ring, "sealed:v1:00000000:" + body, about, ErrNoKey, "00000000"},
		"the wrong ring":     {mustParse(t, secondKey), firstSealed, about, ErrNoKey, "57fd2b3b"},
		"no ring":            {nil, firstSealed, about, ErrNoKey, "57fd2b3b"},
		"an empty ring":      {&Ring{}, firstSealed, about, ErrNoKey, "57fd2b3b"},
		"nothing in it":      {ring, "sealed:v1:57fd2b3b:", about, ErrDamaged, "changed"},
		"the prefix alone":   {ring, "sealed:v1:", about, ErrDamaged, "newer"},
		"a newer version":    {ring, "sealed:v2:57fd2b3b:" + body, about, ErrDamaged, "newer"},
		"no version":         {ring, "sealed:CANARY", about, ErrDamaged, "newer"},
		"no id":              {ring, "sealed:v1::" + body, about, ErrDamaged, "newer"},
		"an id in capitals":  {ring, "sealed:v1:57FD2B3B:" + body, about, ErrDamaged, "newer"},
		"text for an id":     {ring, "sealed:v1:CANARY12:" + body, about, ErrDamaged, "newer"},
		"text, no ring":      {nil, "sealed:v1:CANARY12:" + body, about, ErrDamaged, "newer"},
		"standard base64":    {ring, "sealed:v1:57fd2b3b:" + Secret(strings.NewReplacer("-", "+", "_", "/").Replace(string(body))), about, ErrDamaged, "changed"},
		"padding":            {ring, firstSealed + "=", about, ErrDamaged, "changed"},
		"a line break":       {ring, firstSealed[:40] + "\n" + firstSealed[40:], about, ErrDamaged, "changed"},
		"one at the end":     {ring, firstSealed + "\r\n", about, ErrDamaged, "changed"},
		"something after it": {ring, firstSealed + "A", about, ErrDamaged, "changed"},
		"loose last bits":    {ring, firstSealed[:len(firstSealed)-1] + "x", about, ErrDamaged, "changed"},
		"another's rest":     {ring, firstSealed[:70] + secondSealed[70:], about, ErrDamaged, "changed"},
		"a weak point":       {ring, "sealed:v1:57fd2b3b:" + Secret(strings.Repeat("A", 43)) + body[43:], about, ErrDamaged, "changed"},
	} {
		got, err := tt.ring.Open(tt.text, tt.about)
		if !errors.Is(err, tt.want) || got != "" {
			t.Errorf("%s: opens, or gives %v, want %v", name, err, tt.want)
			continue
		}
		if !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "CANARY") || strings.Contains(err.Error(), string(body[:8])) {
			t.Errorf("%s: says %q, want %q", name, err, tt.says)
		}
	}
}

func TestPlainTextPasses(t *testing.T) {
	for _, ring := range []*Ring{nil, {}, mustParse(t, firstKey)} {
		for _, text := range []Secret{"", plain, "sealed", "Sealed:v1:57fd2b3b:AAAA", " " + firstSealed} {
			if got, err := ring.Open(text, about); err != nil || got != text || text.Sealed() || text.KeyID() != "" {
				t.Errorf("%q is not plain text: %v", text.Reveal(), err)
			}
		}
	}
}

// Every bit counts, and so does the length. A text whose prefix is changed is
// plain text, which is not what was sealed.
func TestEveryChangeIsFound(t *testing.T) {
	ring := mustParse(t, firstKey+","+secondKey)
	refuse := func(what string, changed Secret) {
		t.Helper()
		got, err := ring.Open(changed, about)
		switch {
		case !changed.Sealed():
			if err != nil || got != changed {
				t.Errorf("%s: plain text does not pass: %v", what, err)
			}
		case got != "" || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoKey):
			t.Errorf("%s: opens, or gives %v", what, err)
		}
	}
	for i := range firstSealed {
		refuse(fmt.Sprintf("cut at %d", i), firstSealed[:i])
		for bit := range 8 {
			changed := []byte(firstSealed)
			changed[i] ^= 1 << bit
			refuse(fmt.Sprintf("bit %d of byte %d", bit, i), Secret(changed))
		}
	}
}

func TestRingIsSafeForConcurrentUse(t *testing.T) {
	ring := mustParse(t, firstKey+","+secondKey)
	failed := make(chan error)
	const users = 8
	for i := range users {
		go func() {
			text := Secret(fmt.Sprint("secret ", i))
			sealed, err := ring.Sealer().Seal(text, about)
			if err == nil {
				var got Secret
				if got, err = ring.Open(sealed, about); err == nil && got != text {
					err = errors.New("another's text came out")
				}
			}
			failed <- err
		}()
	}
	for range users {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, text := range []Secret{plain, firstSealed, secondSealed, "", "sealed:", "sealed:v1:", "sealed:v1:57fd2b3b:", "sealed:v2:57fd2b3b:AAAA", firstSealed + "\n"} {
		f.Add(string(text), about)
	}
	ring := mustParse(f, firstKey+","+secondKey)
	f.Fuzz(func(t *testing.T, input, about string) {
		text := Secret(input)
		got, err := ring.Open(text, about)
		switch {
		case !text.Sealed():
			if err != nil || got != text || text.KeyID() != "" || ring.Opens(text) {
				t.Fatalf("plain text does not pass: %v", err)
			}
			sealed := mustSeal(t, ring.Sealer(), text, about)
			if got, err := ring.Open(sealed, about); err != nil || got != text {
				t.Errorf("what was sealed does not open: %v", err)
			}
			if _, err := ring.Open(sealed, about+"."); !errors.Is(err, ErrDamaged) {
				t.Errorf("opens as something else: %v", err)
			}
		case err == nil:
			// Nobody guesses what opens: it is a seed, unchanged.
			if text != firstSealed && text != secondSealed || got != plain || got.Sealed() {
				t.Errorf("%q opens to %q", input, got.Reveal())
			}
		default:
			if got != "" || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoKey) {
				t.Errorf("gives text, or the error %v", err)
			}
			if errors.Is(err, ErrNoKey) && (ring.Opens(text) || !regexp.MustCompile(`^[0-9a-f]{8}$`).MatchString(text.KeyID())) {
				t.Errorf("has no key, and the id %q", text.KeyID())
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	sealer := mustParse(b, firstKey).Sealer()
	for b.Loop() {
		mustSeal(b, sealer, plain, about)
	}
}

func BenchmarkOpen(b *testing.B) {
	ring := mustParse(b, firstKey)
	for b.Loop() {
		if _, err := ring.Open(firstSealed, about); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpens asks the largest ring for a key that it does not have.
func BenchmarkOpens(b *testing.B) {
	keys := make([]string, MaxMasterKeys)
	for i := range keys {
		keys[i] = NewMasterKey().Reveal()
	}
	ring := mustParse(b, strings.Join(keys, ","))
	for b.Loop() {
		if ring.Opens(firstSealed) {
			b.Fatal("opens")
		}
	}
}

func BenchmarkParseRing(b *testing.B) {
	for b.Loop() {
		mustParse(b, firstKey)
	}
}
