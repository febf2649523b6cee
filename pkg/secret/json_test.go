package secret

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// A secret is read from JSON as text, and never written there: what is to be stored
// says so.
func TestSecretInJSON(t *testing.T) {
	type document struct {
		Given   Secret            `json:"given"`
		Pointer *Secret           `json:"pointer"`
		Absent  Secret            `json:"absent,omitempty"`
		List    []Secret          `json:"list"`
		Map     map[string]Secret `json:"map"`
	}
	var d document
	if err := json.Unmarshal([]byte(`{"given":"CANARY","pointer":"CANARY","list":["CANARY"],"map":{"a":"CANARY"}}`), &d); err != nil {
		t.Fatal(err)
	}
	if d.Given.Reveal() != "CANARY" || d.Pointer.Reveal() != "CANARY" || d.List[0].Reveal() != "CANARY" || d.Map["a"].Reveal() != "CANARY" {
		t.Error("it does not come back from JSON")
	}
	written, err := json.Marshal(d)
	if want := `{"given":"***","pointer":"***","list":["***"],"map":{"a":"***"}}`; err != nil || string(written) != want {
		t.Errorf("written is %s, %v, want %s", written, err, want)
	}
	var out bytes.Buffer
	log := zerolog.New(&out)
	log.Info().Interface("i", d).Any("a", d.Given).Fields(map[string]any{"f": d.Given}).Send()
	if strings.Contains(out.String(), "CANARY") {
		t.Errorf("the log holds %s", out.String())
	}
}
