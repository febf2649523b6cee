package secret

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestSealerText(t *testing.T) {
	for text, ring := range map[string]*Ring{firstPublic: mustParse(t, firstKey), secondPublic: mustParse(t, secondKey+","+firstKey)} {
		if got := ring.Sealer().String(); got != text {
			t.Errorf("String() = %s, want %s", got, text)
		}
		s, err := ParseSealer(text)
		if err != nil {
			t.Fatal(err)
		}
		if s != ring.Sealer() || s.ID() != text[:8] {
			t.Errorf("%s is read as another: %s", text, s)
		}
		// Of the parsed one, which never knew the private half.
		if got, err := ring.Open(mustSeal(t, s, plain, about), about); err != nil || got != plain {
			t.Errorf("what a parsed Sealer sealed does not open: %v", err)
		}
	}
}

func TestParseSealerRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":        "",
		"a colon":        ":",
		"id alone":       "57fd2b3b:",
		"key alone":      firstPublic[9:],
		"no id":          firstPublic[8:],
		"another's id":   secondPublic[:8] + firstPublic[8:],
		"capitals":       "57FD2B3B" + firstPublic[8:],
		"longer id":      "57fd2b3bd" + firstPublic[8:],
		"shorter id":     firstPublic[1:],
		"short key":      "57fd2b3b:" + base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"long key":       "57fd2b3b:" + base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"a line break":   firstPublic + "\n",
		"one in between": firstPublic[:20] + "\r\n" + firstPublic[20:],
		"white space":    " " + firstPublic,
		"no padding":     strings.TrimSuffix(firstPublic, "="),
		"loose bits":     firstPublic[:51] + "J=",
		"what follows":   firstPublic + ":",
		"a master key":   firstKey,
	} {
		s, err := ParseSealer(text)
		if err == nil || s != (Sealer{}) {
			t.Errorf("%s: is accepted", name)
		} else if len(text) > 20 && strings.Contains(err.Error(), text[9:20]) {
			t.Errorf("%s: the error repeats the text: %v", name, err)
		}
	}
	for i := range firstPublic {
		for _, c := range []byte("AEf0:=\n ") {
			if changed := firstPublic[:i] + string(c) + firstPublic[i+1:]; changed != firstPublic {
				if _, err := ParseSealer(changed); err == nil {
					t.Errorf("%q at %d: is accepted", c, i)
				}
			}
		}
	}
}

func TestSealRefuses(t *testing.T) {
	sealer := mustParse(t, firstKey).Sealer()
	for name, tt := range map[string]struct {
		sealer Sealer
		text   Secret
		want   string
	}{
		"what is sealed":      {sealer, firstSealed, "cannot be sealed again"},
		"what begins so":      {sealer, "sealed:CANARY", "cannot be sealed again"},
		"without a key":       {Sealer{}, plain, "no key to seal with"},
		"for a nil ring":      {(*Ring)(nil).Sealer(), plain, "no key to seal with"},
		"for an empty ring":   {(&Ring{}).Sealer(), plain, "no key to seal with"},
		"to a weak point (0)": {newSealer([32]byte{}), plain, "seal with key"},
		"to a weak point (1)": {newSealer([32]byte{1}), plain, "seal with key"},
	} {
		got, err := tt.sealer.Seal(tt.text, about)
		if err == nil || got != "" {
			t.Errorf("%s: is sealed", name)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: says %q, want %q", name, err, tt.want)
		}
	}
	if text := (Sealer{}).String() + (Sealer{}).ID(); text != "" {
		t.Errorf("the zero Sealer calls itself %q", text)
	}
}

func FuzzParseSealer(f *testing.F) {
	for _, seed := range []string{firstPublic, secondPublic, firstPublic + "\n", "", ":", firstPublic[:9], secondPublic[:8] + firstPublic[8:]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSealer(text)
		if err != nil {
			if s != (Sealer{}) {
				t.Error("gives both a Sealer and an error")
			}
			return
		}
		if s.String() != text || !strings.HasPrefix(text, s.ID()+":") {
			t.Errorf("%q is read as %s", text, s)
		}
	})
}
