package main

import (
	"fmt"
	"io"
	"strings"

	"jethook/streams"
)

type streamsPermissionsCmd struct {
	Role    streams.Role `arg:"" placeholder:"ROLE" enum:"producer,worker,reader,operator,provisioner" help:"${enum}."`
	Tenant  given        `placeholder:"TENANT" help:"A producer of this tenant's events alone."`
	Ordered bool         `help:"A worker that serves ordered endpoints and lanes too. It may then make consumers of events, and whoever may can let NATS publish them anywhere."`
	Account given        `placeholder:"ACCOUNT" help:"The NATS account that jethook's streams are in. A producer gets one of its own then, which reaches nothing there but what it may publish: the way for who is not trusted."`
	Format  string       `default:"conf" enum:"conf,nsc" help:"conf for the configuration of nats-server, nsc for the flags of nsc add user, or the commands that make the account."`
	JSON    bool         `name:"json" help:"As one JSON document."`
}

// Help adds to what --help prints.
func (c *streamsPermissionsCmd) Help() string {
	return "It asks no server. The user connects with the prefix that is named beside (NATS_INBOX_PREFIX, --inbox-prefix): answers come under it, and no other role may listen there. Within one account, roles stop mistakes and not who is hostile: see README, NATS permissions."
}

// Run prints the permissions of a role.
func (c *streamsPermissionsCmd) Run(a *app) error {
	config, err := a.load()
	if err != nil {
		return err
	}
	names, err := streams.NewNames(config.Namespace)
	if err != nil {
		return usageError{err}
	}
	p, err := names.Permissions(c.Role, streams.PermissionOptions{Tenant: string(c.Tenant), Ordered: c.Ordered})
	if err != nil {
		return usageError{err}
	}
	own, err := c.ownAccount(names, p)
	if err != nil {
		return usageError{err}
	}
	if c.JSON {
		return encode(a.Out, asJSON(p, own))
	}
	text := connects(p) + "permissions: " + conf(p)
	if own != nil {
		text = own.conf()
	}
	if c.Format == "nsc" {
		fmt.Fprintf(a.Err, "jethook: connect with NATS_INBOX_PREFIX=%s\n", p.Inbox)
		text = nscFlags(p) + "\n"
		if own != nil {
			text = own.nsc()
		}
	}
	_, err = io.WriteString(a.Out, text)
	return err //nolint:wrapcheck // the error of a closed pipe says it all
}

// permissionsJSON has the fields that a user's permissions have in nats-server's
// configuration.
type permissionsJSON struct {
	Role        streams.Role `json:"role"`
	InboxPrefix string       `json:"inbox_prefix"`
	Permissions struct {
		Publish   allowed `json:"publish"`
		Subscribe allowed `json:"subscribe"`
	} `json:"permissions"`
	Account *ownAccount `json:"account,omitempty"`
}

type allowed struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny,omitempty"`
}

func asJSON(p streams.Permissions, own *ownAccount) permissionsJSON {
	j := permissionsJSON{Role: p.Role, InboxPrefix: p.Inbox, Account: own}
	j.Permissions.Publish.Allow = streams.Subjects(p.Publish)
	j.Permissions.Publish.Deny = streams.Subjects(p.Deny)
	j.Permissions.Subscribe.Allow = streams.Subjects(p.Subscribe)
	return j
}

// connects says how a user of these permissions connects.
func connects(p streams.Permissions) string {
	return fmt.Sprintf("# jethook %s: connects with NATS_INBOX_PREFIX=%s\n", p.Role, p.Inbox)
}

// conf returns the block that belongs into a user's in nats-server's
// configuration.
func conf(p streams.Permissions) string {
	var b strings.Builder
	list := func(grants []streams.Grant) {
		for _, g := range grants {
			fmt.Fprintf(&b, "    # %s\n", g.Purpose)
			for _, subject := range g.Subjects {
				fmt.Fprintf(&b, "    %q\n", subject)
			}
		}
	}
	b.WriteString("{\n  publish: {allow: [\n")
	list(p.Publish)
	if len(p.Deny) > 0 {
		b.WriteString("  ], deny: [\n")
		list(p.Deny)
	}
	b.WriteString("  ]}\n  subscribe: {allow: [\n")
	list(p.Subscribe)
	b.WriteString("  ]}\n}\n")
	return b.String()
}

// nscFlags returns the flags that give a user or an account permissions.
func nscFlags(p streams.Permissions) string {
	flags := fmt.Sprintf("--allow-pub '%s' --allow-sub '%s'", strings.Join(streams.Subjects(p.Publish), ","), strings.Join(streams.Subjects(p.Subscribe), ","))
	if len(p.Deny) > 0 {
		flags += fmt.Sprintf(" --deny-pub '%s'", strings.Join(streams.Subjects(p.Deny), ","))
	}
	return flags
}
