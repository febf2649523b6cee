package secret

import (
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
)

func TestParseRing(t *testing.T) {
	// Its standard form has + and /, the URL form - and _.
	const std = "++//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaG/8="
	url := strings.NewReplacer("+", "-", "/", "_").Replace(std)
	ids := func(r *Ring) (ids []string) {
		for _, k := range r.keys {
			ids = append(ids, k.sealer.ID())
		}
		return ids
	}
	const first, second, third = "57fd2b3b", "20787270", "f7df646d"
	for text, want := range map[string]string{
		firstKey:                              first,
		" \t\n" + firstKey + "\r\n":           first,
		firstKey[:43]:                         first,
		firstKey + "," + secondKey:            first + " " + second,
		secondKey + "\n, \t" + firstKey + " ": second + " " + first,
		std:                                   third,
		url:                                   third,
		std[:43]:                              third,
		url[:43] + "," + firstKey:             third + " " + first,
	} {
		r, err := ParseRing(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := strings.Join(ids(r), " "); got != want {
			t.Errorf("%q: the ring has the keys %s, want %s", text, got, want)
		}
		if got := r.Sealer().ID(); got != strings.Fields(want)[0] {
			t.Errorf("%q: %s seals, want the first", text, got)
		}
	}
}

func TestParseRingRefuses(t *testing.T) {
	key := func(n byte) string {
		return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string('A'+rune(n)), 32)))
	}
	keys := func(n int) string {
		texts := make([]string, n)
		for i := range texts {
			texts[i] = key(byte(i))
		}
		return strings.Join(texts, ",")
	}
	if r := mustParse(t, keys(MaxMasterKeys)); len(r.keys) != MaxMasterKeys {
		t.Errorf("of %d keys the ring has %d", MaxMasterKeys, len(r.keys))
	}
	const bad = "CANARY!CANARY"
	encoded := func(n int) string { return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("C", n))) }
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":          {"", "there is no master key"},
		"white space":      {" \n\t", "there is no master key"},
		"no base64":        {bad, "master key 1 must be 32 random bytes in base64"},
		"second no base64": {firstKey + "," + bad, "master key 2 must be"},
		"empty between":    {firstKey + ",," + secondKey, "master key 2 has 0 bytes and must be 32"},
		"empty at the end": {firstKey + ",", "master key 2 has 0 bytes"},
		"31 bytes":         {encoded(31), "master key 1 has 31 bytes"},
		"33 bytes":         {encoded(33), "master key 1 has 33 bytes"},
		"hexadecimal":      {strings.Repeat("0123456789abcdef", 4), "master key 1 has 48 bytes"},
		"two, no comma":    {firstKey + "\n" + secondKey, "master key 1 must be"},
		"a line break":     {firstKey[:20] + "\n" + firstKey[20:], "master key 1 must be"},
		"a carriage":       {firstKey[:20] + "\r" + firstKey[20:], "master key 1 must be"},
		"a space":          {firstKey[:20] + " " + firstKey[20:], "master key 1 must be"},
		"too much padding": {firstKey + "=", "master key 1 must be"},
		"half the padding": {encoded(31)[:43], "master key 1 must be"},
		"loose last bits":  {firstKey[:42] + "F=", "master key 1 must be"},
		"twice":            {firstKey + "," + secondKey + "," + firstKey, "master key 3 has the same id as master key 1"},
		"twice, unpadded":  {secondKey + "," + firstKey + "," + firstKey[:43], "master key 3 has the same id as master key 2"},
		"too many":         {keys(MaxMasterKeys + 1), "there are 17 master keys, at most 16"},
	} {
		r, err := ParseRing(tt.text)
		if err == nil || r != nil {
			t.Errorf("%s: is accepted", name)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: says %q, want %q", name, err, tt.want)
		}
		for _, item := range strings.FieldsFunc(tt.text, func(r rune) bool { return strings.ContainsRune(", \n\r\t!", r) }) {
			if strings.Contains(err.Error(), item[:min(len(item), 6)]) {
				t.Errorf("%s: repeats the key: %q", name, err)
			}
		}
	}
}

func TestNewMasterKey(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		key := NewMasterKey()
		mustParse(t, key.Reveal())
		if b, err := base64.StdEncoding.DecodeString(key.Reveal()); err != nil || len(b) != 32 {
			t.Fatalf("is not 32 bytes in standard base64: %v", err)
		}
		// Its id has 32 bits, and may well come twice.
		if seen[key.Reveal()] {
			t.Fatal("made the same key twice")
		}
		seen[key.Reveal()] = true
	}
}

func TestMasterKeyIsNotUsedRaw(t *testing.T) {
	r := mustParse(t, firstKey)
	private, err := r.keys[0].private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if raw, _ := base64.StdEncoding.DecodeString(firstKey); string(private) == string(raw) {
		t.Error("the private key is the master key itself")
	}
}

func TestRingKnowsItsKeys(t *testing.T) {
	first, second, both := mustParse(t, firstKey), mustParse(t, secondKey), mustParse(t, secondKey+","+firstKey)
	for name, tt := range map[string]struct {
		ring           *Ring
		text           Secret
		opens, current bool
	}{
		"its only key":       {first, firstSealed, true, true},
		"its first key":      {both, secondSealed, true, true},
		"its second key":     {both, firstSealed, true, false},
		"another's":          {second, firstSealed, false, false},
		"no ring":            {nil, firstSealed, false, false},
		"an empty ring":      {&Ring{}, firstSealed, false, false},
		"plain text":         {both, plain, false, false},
		"nothing":            {both, "", false, false},
		"no id":              {both, "sealed:v1::AAAA", false, false},
		"the id alone":       {both, "sealed:v1:20787270", false, false},
		"a damaged rest":     {both, "sealed:v1:20787270:!", true, true},
		"another version":    {both, "sealed:v2" + secondSealed[9:], false, false},
		"a longer id":        {both, "sealed:v1:0" + secondSealed[10:], false, false},
		"an id in plain":     {both, "20787270", false, false},
		"plain, nil ring":    {nil, plain, false, false},
		"nothing, nil ring":  {nil, "", false, false},
		"nothing, empty one": {&Ring{}, "", false, false},
	} {
		if got := tt.ring.Opens(tt.text); got != tt.opens {
			t.Errorf("%s: Opens() = %v", name, got)
		}
		if got := tt.ring.Current(tt.text); got != tt.current {
			t.Errorf("%s: Current() = %v", name, got)
		}
	}
	forged := first.Sealer()
	forged.key[0]++ // another key that somebody found to have the same id
	for name, tt := range map[string]struct {
		sealer Sealer
		want   bool
	}{
		"its first key's": {second.Sealer(), true}, "its second key's": {first.Sealer(), true},
		"forged": {forged, false}, "none": {Sealer{}, false}, "another's": {mustParse(t, NewMasterKey().Reveal()).Sealer(), false},
	} {
		if both.Made(tt.sealer) != tt.want || (*Ring)(nil).Made(tt.sealer) {
			t.Errorf("%s: Made() is not %v, or is true of no ring", name, tt.want)
		}
	}
}

func FuzzParseRing(f *testing.F) {
	for _, seed := range []string{firstKey, firstKey + "," + secondKey, firstKey[:43] + "\n,\t" + secondKey, "", ",", "====", firstKey + "," + firstKey} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRing(text)
		if (err == nil) == (r == nil) {
			t.Fatal("gives neither a ring nor an error, or both")
		}
		items := strings.Split(text, ",")
		if err != nil {
			for i, item := range items {
				// What is shorter may well be in what the error says anyway.
				if item = strings.TrimSpace(item); len(item) > 40 && strings.Contains(err.Error(), item) {
					t.Errorf("repeats key %d: %v", i+1, err)
				}
			}
			return
		}
		if len(r.keys) != len(items) || len(items) > MaxMasterKeys {
			t.Fatalf("made %d keys of %d", len(r.keys), len(items))
		}
		for i, item := range items {
			if one := mustParse(t, item); one.Sealer() != r.keys[i].sealer || one.Sealer().ID() == "" {
				t.Errorf("key %s alone is another", strconv.Itoa(i+1))
			}
		}
	})
}
