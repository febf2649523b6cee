package signature

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"jethook/pkg/secret"
)

const canary = "whsec_Q0FOQVJZQ0FOQVJZQ0FOQVJZQ0FOQVJZQ0FOQVJZQ0E="

// leaks says whether the canary shows: its text or the bytes that it stands
// for, plain, in hexadecimal or as a list of numbers.
func leaks(s string) bool {
	for _, trace := range []string{"Q0FOQVJZ", "CANARY"} {
		numbers := strings.Trim(fmt.Sprintf("%d", []byte(trace)), "[]")
		for _, form := range []string{trace, fmt.Sprintf("%x", trace), fmt.Sprintf("%X", trace), numbers} {
			if strings.Contains(s, form) {
				return true
			}
		}
	}
	return false
}

func TestSecretPrintsNothing(t *testing.T) {
	text := secret.Secret(canary)
	key, private := mustParse(t, text), mustParse(t, "whsk_"+text[len(secretPrefix):])
	type document struct {
		Secret  secret.Secret
		Secrets []secret.Secret
		ByName  map[string]secret.Secret
		Pointer *secret.Secret
		Any     any
		Key     Key
	}
	values := map[string]any{
		"secret":    text,
		"pointer":   &text,
		"slice":     []secret.Secret{text, text},
		"array":     [1]secret.Secret{text},
		"map key":   map[secret.Secret]int{text: 1},
		"map value": map[string]secret.Secret{"a": text},
		"struct":    document{text, []secret.Secret{text}, map[string]secret.Secret{"a": text}, &text, text, key},
		"interface": []any{text, &text, key, &key},
		"key":       key,
		"keys":      []Key{key},
		// fmt asks no method of an unexported field: a Key is safe even there.
		"unexported key": struct{ k Key }{key},
		"unexported ptr": struct{ k *Key }{&key},
		"private key":    struct{ k Key }{private},
		"private ptr":    struct{ k *Key }{&private},
	}
	flags := []string{"", "+", "#", "-", " ", "0", "20", ".3", "+#20.9"}
	for name, value := range values {
		// Every letter but p, which fmt answers itself, and w, which is
		// Errorf's; T prints the type.
		for _, verb := range "abcdefghijklmnoqrstuvxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
			for _, flag := range flags {
				format := "%" + flag + string(verb)
				if got := fmt.Sprintf(format, value); leaks(got) {
					t.Errorf("%s: Sprintf(%q) = %s", name, format, got)
				}
			}
		}
		for how, got := range map[string]string{
			"Sprint":   fmt.Sprint(value),
			"Sprintln": fmt.Sprintln(value),
			"Errorf":   fmt.Errorf("refused: %v", value).Error(),
			"extra":    fmt.Sprintf("%s", []any{"x", value}...),
		} {
			if leaks(got) {
				t.Errorf("%s: %s gives %s", name, how, got)
			}
		}
	}
	for _, verb := range "vsqxXdT" {
		want := hidden
		if verb == 'T' {
			want = "secret.Secret"
		}
		if got := fmt.Sprintf("%"+string(verb), text); got != want {
			t.Errorf("%%%c prints %q, want %q", verb, got, want)
		}
	}
	for how, got := range map[string]string{
		"String":   text.String(),
		"GoString": text.GoString(),
		"empty":    fmt.Sprint(secret.Secret("")),
		"key":      fmt.Sprint(key),
		"zero key": fmt.Sprint(Key{}),
	} {
		if got != hidden {
			t.Errorf("%s: prints %q, want %q", how, got, hidden)
		}
	}
}

func TestSecretInLoggers(t *testing.T) {
	text := secret.Secret(canary)
	key := mustParse(t, text)

	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("slog", "secret", text, "any", slog.AnyValue(text), "key", key)
	}
	log := zerolog.New(&out)
	log.Info().Stringer("secret", text).Str("text", text.String()).Interface("key", key).Interface("any", text).
		Err(errors.New(fmt.Sprint(text))).Msgf("zerolog %v %v", text, key)
	if leaks(out.String()) || strings.Count(out.String(), hidden) != 12 {
		t.Errorf("the loggers wrote %s", out.String())
	}
}

func TestKeyInJSON(t *testing.T) {
	keys := map[string]any{"a": mustParse(t, canary)}
	if b, err := json.Marshal(keys); err != nil || string(b) != `{"a":{}}` {
		t.Errorf("a Key marshals to %s, %v, want nothing of it", b, err)
	}
}

func TestNewSecrets(t *testing.T) {
	tests := map[string]struct {
		make            func() secret.Secret
		prefix, version string
		length          int
	}{
		"secret":      {NewSecret, "whsec_", "v1", len("whsec_") + 44},
		"signing key": {NewSigningKey, "whsk_", "v1a", len("whsk_") + 88},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			seen := map[secret.Secret]bool{}
			for range 100 {
				s := tt.make()
				if seen[s] {
					t.Fatal("made the same text twice")
				}
				seen[s] = true
				if !strings.HasPrefix(s.Reveal(), tt.prefix) || len(s) != tt.length {
					t.Fatalf("begins with %q and has %d characters", s.Reveal()[:6], len(s))
				}
				if k := mustParse(t, s); k.Version() != tt.version || !k.CanSign() {
					t.Fatalf("Version() = %q, CanSign() = %v", k.Version(), k.CanSign())
				}
			}
		})
	}
}
