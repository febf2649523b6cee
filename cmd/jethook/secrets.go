package main

import (
	"context"
	"fmt"

	"jethook/pkg/endpoint"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

// secretsCmd is `jethook secrets`.
type secretsCmd struct {
	NewKey        secretsNewKeyCmd        `cmd:"" help:"Print a new master key, for JETHOOK_MASTER_KEYS."`
	NewSigningKey secretsNewSigningKeyCmd `cmd:"" help:"Print a new signing secret, for an endpoint's secrets."`
	Rewrap        secretsRewrapCmd        `cmd:"" help:"Seal anew, with the key in use, what is sealed with another one or not at all."`
}

type secretsNewKeyCmd struct{}

// Run prints a master key.
func (secretsNewKeyCmd) Run(a *app) error { //nolint:unparam // kong calls it
	fmt.Fprintln(a.Out, secret.NewMasterKey().Reveal())
	return nil
}

type secretsNewSigningKeyCmd struct {
	Kind string `default:"v1" enum:"v1,v1a" help:"v1: a secret shared with the receiver; v1a: an ed25519 key, of which the receiver gets the public half."`
	JSON bool   `name:"json" help:"As one JSON document."`
}

// Run prints a signing secret, and what the receiver needs.
func (c secretsNewSigningKeyCmd) Run(a *app) error {
	made := signature.NewSecret()
	if c.Kind == string(endpoint.SigningV1a) {
		made = signature.NewSigningKey()
	}
	key, err := signature.ParseKey(made)
	if err != nil {
		return err
	}
	if c.JSON {
		document := map[string]string{"secret": made.Reveal()}
		if public := key.Public(); public != "" {
			document["public_key"] = public
		}
		return encode(a.Out, document)
	}
	fmt.Fprintln(a.Out, made.Reveal())
	if public := key.Public(); public != "" {
		fmt.Fprintf(a.Err, "for the receiver, to verify with: %s\n", public)
	}
	return nil
}

type secretsRewrapCmd struct {
	JSON bool `name:"json" help:"As one JSON document."`
}

// Run seals secrets anew while replicas go on.
func (c secretsRewrapCmd) Run(ctx context.Context, a *app) error {
	return a.withEndpoints(ctx, func(client *client, store *endpoint.Store) error {
		old, err := store.Old(ctx)
		if err != nil {
			return err
		}
		n, failed := store.Rewrap(ctx, old)
		switch {
		case c.JSON:
			if err := encode(a.Out, map[string]int{"endpoints": n}); err != nil {
				return err
			}
		case failed == nil:
			fmt.Fprintf(a.Out, "%d endpoints were sealed anew with the key in use; all others were already\n", n)
		default:
			fmt.Fprintf(a.Out, "%d endpoints were sealed anew with the key in use, but not all\n", n)
		}
		if n > 0 && ctx.Err() == nil {
			a.awaitReplicas(ctx, client)
		}
		return failed
	})
}
