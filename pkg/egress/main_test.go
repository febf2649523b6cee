package egress

import (
	"io"
	"log"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// net/http logs what receivers send unasked; some of ours do that.
	log.SetOutput(io.Discard)
	// A proxy that the environment names is none of ours; see TestEveryRowAtTheDial.
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		if err := os.Setenv(name, "http://93.184.216.77:3128"); err != nil {
			log.Fatal(err)
		}
	}
	goleak.VerifyTestMain(m)
}
