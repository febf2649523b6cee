package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// traces returns what of a ring must not show: the master key and the private key
// that it became, in the forms in which fmt and encoders write bytes.
func traces(t *testing.T, r *Ring) []string {
	t.Helper()
	private, err := r.keys[0].private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	master, err := base64.StdEncoding.DecodeString(firstKey)
	if err != nil {
		t.Fatal(err)
	}
	var forms []string
	for _, b := range [][]byte{private[4:16], private[16:28], master[4:16]} {
		numbers := strings.Trim(fmt.Sprintf("%d", b), "[]")
		forms = append(forms, string(b), fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), fmt.Sprintf("% x", b), numbers,
			strings.ReplaceAll(numbers, " ", ","), strings.Trim(fmt.Sprintf("%o", b), "[]"), strings.Trim(fmt.Sprintf("%#v", b), "[]byte{}"))
	}
	return append(forms, firstKey[:16], base64.StdEncoding.EncodeToString(private)[:16])
}

func TestRingPrintsNothing(t *testing.T) {
	ring := mustParse(t, firstKey)
	forms := traces(t, ring)
	leaks := func(s string) bool {
		for _, form := range forms {
			if strings.Contains(s, form) {
				return true
			}
		}
		return false
	}
	private, _ := ring.keys[0].private.Bytes()
	if !leaks(fmt.Sprint(private)) || !leaks(fmt.Sprintf("%#v", private)) || !leaks(fmt.Sprintf("%x", private)) || !leaks(firstKey) {
		t.Fatal("the test does not see a key that shows")
	}
	for name, value := range map[string]any{
		"pointer":            ring,
		"value":              *ring,
		"pointers":           []*Ring{ring},
		"values":             []Ring{*ring},
		"map":                map[string]*Ring{"a": ring},
		"field":              struct{ Ring *Ring }{ring},
		"value field":        struct{ Ring Ring }{*ring},
		"unexported":         struct{ ring *Ring }{ring},
		"unexported value":   struct{ ring Ring }{*ring},
		"pointer to one":     &struct{ ring Ring }{*ring},
		"pointer to pointer": &ring,
		"interface":          []any{ring, *ring},
		"function":           ring.Open,
	} {
		// Every letter but p, which fmt answers itself, and w, which is Errorf's.
		for _, verb := range "abcdefghijklmnoqrstuvxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
			for _, flag := range []string{"", "+", "#", "-", " ", "0", "20", ".3", "+#20.9"} {
				format := "%" + flag + string(verb)
				if got := fmt.Sprintf(format, value); leaks(got) {
					t.Errorf("%s: Sprintf(%q) = %s", name, format, got)
				}
			}
		}
		if got := fmt.Sprintln(value) + fmt.Errorf("refused: %v", value).Error(); leaks(got) {
			t.Errorf("%s: prints %s", name, got)
		}
		// What is no JSON, such as a function, is an error that may not show it either.
		if b, err := json.Marshal(value); leaks(string(b)) || leaks(fmt.Sprint(err)) {
			t.Errorf("%s: marshals to %s, %v", name, b, err)
		}
	}
	for how, got := range map[string]string{
		"Sprint": fmt.Sprint(ring), "%+v": fmt.Sprintf("%+v", ring), "%#v": fmt.Sprintf("%#v", ring), "%d": fmt.Sprintf("%d", ring),
		"String": ring.String(), "GoString": ring.GoString(), "LogValue": ring.LogValue().String(), "nil": fmt.Sprint((*Ring)(nil)),
	} {
		if got != hidden {
			t.Errorf("%s: prints %q, want %q", how, got, hidden)
		}
	}
}

func TestRingInLoggers(t *testing.T) {
	ring := mustParse(t, firstKey)
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("slog", "ring", ring, "any", slog.AnyValue(ring), "none", (*Ring)(nil))
	}
	log := zerolog.New(&out)
	log.Info().Stringer("ring", ring).Interface("any", ring).Msgf("zerolog %v", ring)
	for _, form := range traces(t, ring) {
		if strings.Contains(out.String(), form) {
			t.Errorf("the loggers wrote %s", out.String())
		}
	}
	if strings.Count(out.String(), hidden) != 8 {
		t.Errorf("the loggers wrote %s", out.String())
	}
}
