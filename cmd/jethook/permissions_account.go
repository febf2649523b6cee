package main

import (
	"errors"
	"fmt"
	"strings"

	"jethook/streams"
)

// ownAccount is an account of NATS that a producer has for itself. A server does not
// judge the reply subject of what a user publishes, and answers there with rights of
// its own: in jethook's account that is as good as publishing to any stream, and to
// JetStream itself. What comes from another account, through a service, is answered in
// that other one.
type ownAccount struct {
	Name    string   `json:"name"`
	From    string   `json:"from"`    // jethook's account
	Imports []string `json:"imports"` // services of that one

	permissions streams.Permissions // of every user of the account
}

// ownAccount returns the account that is asked for, nil if none is.
func (c *streamsPermissionsCmd) ownAccount(names streams.Names, p streams.Permissions) (*ownAccount, error) {
	switch {
	case c.Account == "":
		return nil, nil
	case c.Role != streams.Producer:
		return nil, fmt.Errorf("only a %s can have an account of its own, not a %s: what that one reads is sent inside jethook's account", streams.Producer, c.Role)
	case strings.ContainsAny(string(c.Account), " \t\n'\"\\"):
		return nil, errors.New("--account: the name of an account has no blanks, quotes and backslashes")
	}
	name := string(c.Role) + "~" + names.Namespace()
	if c.Tenant != "" {
		name += "~" + string(c.Tenant)
	}
	return &ownAccount{Name: name, From: string(c.Account), Imports: streams.Subjects(p.Publish), permissions: p}, nil
}

// conf returns what belongs into nats-server's configuration.
func (o *ownAccount) conf() string {
	var exports, imports strings.Builder
	for _, subject := range o.Imports {
		fmt.Fprintf(&exports, "{service: %q, accounts: [%q]}\n", subject, o.Name)
		fmt.Fprintf(&imports, "{service: {account: %q, subject: %q}}", o.From, subject)
	}
	return connects(o.permissions) +
		"# among the exports of account " + o.From + ":\n" + exports.String() +
		fmt.Sprintf("# among the accounts, with its users, who have no permissions of their own:\n%q: {\nusers: []\nimports: [%s]\ndefault_permissions: %s}\n",
			o.Name, imports.String(), conf(o.permissions))
}

// nsc returns the commands that make the account.
func (o *ownAccount) nsc() string {
	var b strings.Builder
	fmt.Fprintf(&b, "nsc add account --name '%s' %s\n", o.Name, nscFlags(o.permissions))
	for _, subject := range o.Imports {
		fmt.Fprintf(&b, "nsc add export --account '%s' --service --private --subject '%s'\n", o.From, subject)
		fmt.Fprintf(&b, "nsc generate activation --account '%s' --target-account '%s' --subject '%s' --output-file '%s.jwt'\n", o.From, o.Name, subject, o.Name)
		fmt.Fprintf(&b, "nsc add import --account '%[1]s' --token '%[1]s.jwt'\n", o.Name)
	}
	return b.String()
}
