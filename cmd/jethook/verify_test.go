package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jethook/pkg/signature"
)

func TestVerify(t *testing.T) {
	// The vector of Standard Webhooks, and its second of signing.
	vector := verifyCmd{
		Secret:    []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		ID:        "msg_p5jXN8AQM9LWM0D4loKWxJek",
		Timestamp: "1614265330",
		Signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		Tolerance: 5 * time.Minute,
	}
	const body = `{"test": 2432232314}`
	tests := map[string]struct {
		body  string
		after time.Duration
		want  error
	}{
		"as signed":                {body, 0, nil},
		"at the tolerance's end":   {body, 5 * time.Minute, nil},
		"a second later":           {body, 5*time.Minute + time.Second, signature.ErrTimestamp},
		"a newline more":           {body + "\n", 0, signature.ErrNoMatch},
		"an empty body":            {"", 0, signature.ErrNoMatch},
		"the same JSON, reprinted": {`{"test":2432232314}`, 0, signature.ErrNoMatch},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				<-time.After(time.Until(time.Unix(1614265330, 0).Add(tt.after)))
				c := vector
				var stdout bytes.Buffer
				err := c.Run(t.Context(), &app{In: strings.NewReader(tt.body), Out: &stdout, Err: io.Discard})
				if !errors.Is(err, tt.want) {
					t.Errorf("error %v, want %v", err, tt.want)
				}
				if valid := stdout.String() == "valid\n"; valid != (tt.want == nil) {
					t.Errorf("printed %q with error %v", stdout.String(), err)
				}
			})
		})
	}
}

// A receiver of v1a verifies with the public key alone. The vector is that of
// TestVerify, signed with the private key of Standard Webhooks' examples.
func TestVerifyWithAPublicKey(t *testing.T) {
	const (
		public    = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
		v1        = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
		v1a       = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
		body      = `{"test": 2432232314}`
		timestamp = "1614265330"
	)
	for name, tt := range map[string]struct {
		secret, signature, body, timestamp string
		want                               error
	}{
		"as signed":            {public, v1a, body, timestamp, nil},
		"beside one of v1":     {public, v1 + " " + v1a, body, timestamp, nil},
		"one of v1 alone":      {public, v1, body, timestamp, signature.ErrNoMatch},
		"under the other name": {public, "v1," + strings.TrimPrefix(v1a, "v1a,"), body, timestamp, signature.ErrNoMatch},
		"another body":         {public, v1a, body + " ", timestamp, signature.ErrNoMatch},
		"another timestamp":    {public, v1a, body, "1614265331", signature.ErrNoMatch},
		"another key":          {"whpk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", v1a, body, timestamp, signature.ErrNoMatch},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				<-time.After(time.Until(time.Unix(1614265330, 0)))
				c := verifyCmd{Secret: []string{tt.secret}, ID: "msg_p5jXN8AQM9LWM0D4loKWxJek", Timestamp: tt.timestamp, Signature: tt.signature,
					Tolerance: 5 * time.Minute}
				var stdout bytes.Buffer
				if err := c.Run(t.Context(), &app{In: strings.NewReader(tt.body), Out: &stdout, Err: io.Discard}); !errors.Is(err, tt.want) || (stdout.String() == "valid\n") != (tt.want == nil) {
					t.Errorf("printed %q with error %v, want %v", stdout.String(), err, tt.want)
				}
			})
		})
	}
}

func TestVerifyRefusesWrongFlags(t *testing.T) {
	for name, c := range map[string]*verifyCmd{
		"secret":    {Secret: []string{"whsec_AAAA"}},
		"tolerance": {Tolerance: -1},
	} {
		err := c.Run(t.Context(), &app{Out: io.Discard, Err: io.Discard})
		if _, ok := errors.AsType[usageError](err); !ok {
			t.Errorf("%s: error %v is no usage error", name, err)
		}
	}
}

func TestVerifyReadsNoEndlessBody(t *testing.T) {
	c := verifyCmd{}
	if err := c.Run(t.Context(), &app{In: zeros{}, Out: io.Discard, Err: io.Discard}); err == nil || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("error %v does not name the limit", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
