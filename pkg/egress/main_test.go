package egress

import (
	"io"
	"log"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// net/http logs what receivers send unasked; some of ours do that.
	log.SetOutput(io.Discard)
	goleak.VerifyTestMain(m)
}
