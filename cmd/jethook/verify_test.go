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
				c.in = strings.NewReader(tt.body)
				var stdout bytes.Buffer
				err := c.Run(t.Context(), &app{Out: &stdout, Err: io.Discard})
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
	c := verifyCmd{in: zeros{}}
	if err := c.Run(t.Context(), &app{Out: io.Discard, Err: io.Discard}); err == nil || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("error %v does not name the limit", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
