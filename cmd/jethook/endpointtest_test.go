package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"jethook/pkg/endpoint"
	"jethook/pkg/secret"
	"jethook/streams"
)

// The attempt that is made from here is the one that a replica would make, with
// all that an endpoint may ask for.
func TestEndpointTest(t *testing.T) {
	t.Setenv("JETHOOK_EGRESS_ALLOW", "127.0.0.0/8")
	t.Setenv("JETHOOK_ALLOW_HTTP", "true")
	var got http.Header
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"access_token": "t1", "expires_in": 60}`)) // seen by what is missing
			return
		}
		got = r.Header
	}))
	defer far.Close()
	w := startWorld(t)
	w.apply("acme/crm", func(d *endpoint.Document) {
		d.URL = far.URL
		d.Auth = &endpoint.Auth{OAuth2: &endpoint.OAuth2{TokenURL: far.URL + "/token", ClientID: "c", ClientSecret: "s"}}
		d.ExtraSignatures = []endpoint.ExtraSignature{{Header: "X-Sig", Secret: "s", Value: "sha256={signature}"}}
		d.MaxBody = 20
	})
	stdout, _ := w.run(0, "endpoint", "test", "acme/crm")
	contains(t, stdout, "status    200", "would now be: delivered")
	if got.Get("Authorization") != "Bearer t1" || got.Get("X-Sig") == "" || got.Get("Webhook-Signature") == "" {
		t.Errorf("sent %v", got)
	}
	stdout, _ = w.run(1, "endpoint", "test", "acme/crm", "--data", `{"longer": "than it takes"}`)
	contains(t, stdout, "27 bytes", "at most 20", "invalid_request", "would now be: dead")
	// Nobody listens at the near end of a connection, nor can begin to while it is open.
	conn, err := net.Dial("tcp", far.Listener.Addr().String()) //nolint:noctx // it is taken at once
	w.must(err)
	defer func() { _ = conn.Close() }()
	w.apply("acme/crm", func(d *endpoint.Document) {
		d.URL = far.URL
		d.Auth = &endpoint.Auth{OAuth2: &endpoint.OAuth2{TokenURL: "http://" + conn.LocalAddr().String() + "/token", ClientID: "c", ClientSecret: "s"}}
	})
	stdout, _ = w.run(1, "endpoint", "test", "acme/crm")
	contains(t, stdout, "no access token", "refused the connection", "would now be: retry")
}

// Secrets that are sealed and cannot be opened here are no reason to guess, also
// for an endpoint that is unavailable for other reasons.
func TestEndpointTestOfALockedOne(t *testing.T) {
	t.Setenv("JETHOOK_EGRESS_ALLOW", "127.0.0.0/8")
	t.Setenv("JETHOOK_ALLOW_HTTP", "true")
	t.Setenv("JETHOOK_DATA_DIR", t.TempDir())
	far := httptest.NewServer(http.NotFoundHandler())
	defer far.Close()
	w := startWorld(t)
	text := secret.NewMasterKey().Reveal()
	ring, err := secret.ParseRing(text)
	w.must(err)
	w.store = endpoint.NewStore(w.bucket(w.names.EndpointsBucket()), endpoint.Events(streams.NewEventLog(w.js, w.names)), endpoint.Sealing(w.js, ring))
	w.must(w.store.Announce(w.ctx, false))
	for _, paused := range []bool{false, true} {
		w.apply("acme/crm", func(d *endpoint.Document) { d.URL, d.Paused = far.URL, paused })
		stdout, stderr := w.run(1, "endpoint", "test", "acme/crm")
		contains(t, stderr, "sealed with a master key that is not here", "JETHOOK_MASTER_KEYS", "JETHOOK_DATA_DIR")
		if stdout != "" {
			t.Errorf("printed %s", stdout)
		}
	}
	t.Setenv("JETHOOK_MASTER_KEYS", text)
	stdout, _ := w.run(1, "endpoint", "test", "acme/crm")
	contains(t, stdout, "status    404")
}
