package webhook

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// Of headers only what is known to be harmless is shown.
func TestShownHeaders(t *testing.T) {
	request := shownRequest(http.Header{"Webhook-Id": {"evt_1"}, "Authorization": {"Bearer hush"}, "X-Mine": {"hush"},
		"Webhook-Signature": {"v1,hush"}, "Idempotency-Key": nil})
	if want := map[string]string{"webhook-id": "evt_1", "authorization": "***", "x-mine": "***", "webhook-signature": "***"}; !maps.Equal(request, want) {
		t.Errorf("of the request: %v", request)
	}
	response := shownResponse(http.Header{"Retry-After": {"120"}, "Location": {"https://example.com/a?token=hush"}, "Set-Cookie": {"hush"},
		"Server": {strings.Repeat("é", 150)}, "Via": nil}, nil)
	want := map[string]string{"retry-after": "120", "location": "https://example.com/a", "server": strings.Repeat("é", 100) + "…"}
	if !maps.Equal(response, want) {
		t.Errorf("of the response: %v", response)
	}
	many := http.Header{}
	for i := range 1000 {
		many.Set(fmt.Sprintf("X-%d", i), "")
	}
	if n := len(shownRequest(many)); n != mostHeaders {
		t.Errorf("%d headers are shown", n)
	}
}
