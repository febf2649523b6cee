package telemetry

import (
	"strings"
	"testing"

	"jethook/pkg/notify"
	"jethook/streams"
)

func TestWordsAreCountedFromZero(t *testing.T) {
	m := NewMetrics("test")
	w := m.Words()
	series := 0
	for name, value := range gather(t, m) {
		if strings.HasPrefix(name, "jethook_words_total") || strings.HasPrefix(name, "jethook_contact_messages_total") {
			if series++; value != 0 {
				t.Errorf("%s begins with %v", name, value)
			}
		}
	}
	if series != 10 {
		t.Errorf("there are %d series, want 10", series)
	}
	w.Said(streams.EndpointFailing)
	w.Brought("email", notify.GivenUp)
	after := gather(t, m)
	for _, name := range []string{"jethook_words_total{type=jethook.endpoint.failing}", "jethook_contact_messages_total{by=email,result=given_up}"} {
		if after[name] != 1 {
			t.Errorf("%s is %v", name, after[name])
		}
	}
}
