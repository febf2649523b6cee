package main

import (
	"context"
	"fmt"
	"time"

	"jethook/pkg/signature"
)

// verifyCmd is `jethook verify`: it judges the signature of one webhook.
type verifyCmd struct {
	Secret    []string      `required:"" sep:"none" placeholder:"SECRET" help:"Secret of the endpoint (whsec_… or whpk_…); may be repeated."`
	ID        string        `name:"id" required:"" placeholder:"ID" help:"Value of the header webhook-id."`
	Timestamp string        `required:"" placeholder:"SECONDS" help:"Value of the header webhook-timestamp."`
	Signature string        `required:"" placeholder:"SIGNATURES" help:"Value of the header webhook-signature."`
	Tolerance time.Duration `default:"5m" help:"How far the timestamp may lie from now."`
}

// Help adds to what --help prints.
func (c *verifyCmd) Help() string {
	return "The body is read from stdin and must be exactly what was received, to the byte."
}

// Run prints "valid", or returns an error that says what is wrong.
func (c *verifyCmd) Run(_ context.Context, a *app) error {
	keys, err := parseKeys(c.Secret)
	if err != nil {
		return err
	}
	if c.Tolerance < 0 {
		return usageError{fmt.Errorf("--tolerance %s: it must not be negative", c.Tolerance)}
	}
	body, err := readBody(a.In)
	if err != nil {
		return fmt.Errorf("the body on stdin: %w", err)
	}
	if err := signature.Verify(keys, c.ID, c.Timestamp, c.Signature, body, time.Now(), c.Tolerance); err != nil {
		return fmt.Errorf("not valid: %w", err)
	}
	_, err = fmt.Fprintln(a.Out, "valid")
	return err
}
