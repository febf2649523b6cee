package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/audit"
	"jethook/streams"
)

// accounted checks that the log accounts for n events to one endpoint, each of them
// delivered.
func accounted(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	eventually(t, "all is accounted for", func() error { // the log may be later than the ack
		r := auditNow(t, js)
		if r.Events != n || r.Matched != n || r.Delivered != n || r.Unaccounted != 0 {
			return fmt.Errorf("of %d events the audit says %+v", n, r)
		}
		return nil
	})
}

func auditNow(t *testing.T, js jetstream.JetStream) audit.Report {
	t.Helper()
	names, err := streams.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := audit.New(js, names).Audit(ctx, audit.Window{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
