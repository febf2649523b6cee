package replica

import (
	"strings"
	"testing"

	"jethook/pkg/egress"
)

// An egress proxy that could never be reached is told of at the start, not by every
// delivery.
func TestADeniedProxyStopsTheStart(t *testing.T) {
	o, _ := testOptions(t)
	proxy, err := egress.ParseProxy("http://jethook:CANARY@10.1.2.3:3128")
	if err != nil {
		t.Fatal(err)
	}
	o.Egress.Proxy = proxy
	text := refused(t, o)
	if !strings.Contains(text, "JETHOOK_EGRESS_ALLOW=10.1.2.3:3128") || strings.Contains(text, "CANARY") {
		t.Errorf("refused with %q", text)
	}
}
