package egress

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// names answers a lookup; nil means that there is no such name.
type names func(name string) []netip.Addr

// table answers from a map without the dot of the root.
func table(m map[string][]netip.Addr) names {
	return func(name string) []netip.Addr { return m[name] }
}

// resolver makes Go's resolver talk to answers instead of the network.
func resolver(t testing.TB, answers names) *net.Resolver {
	t.Helper()
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return &dnsConn{t: t, answers: answers}, nil
	}}
}

// dnsConn is a DNS server behind a connection that needs no goroutine: what was
// written is answered when it is read. Being no packet connection, it gets the
// framing of DNS over TCP.
type dnsConn struct {
	net.Conn // only what the resolver calls is there
	t        testing.TB
	answers  names
	out      bytes.Buffer
}

func (c *dnsConn) Write(frame []byte) (int, error) {
	var query dnsmessage.Message
	if err := query.Unpack(frame[2:]); err != nil {
		c.t.Errorf("query of the resolver: %v", err)
		return 0, err
	}
	answer, err := c.answer(query)
	if err != nil {
		c.t.Errorf("answer to the resolver: %v", err)
		return 0, err
	}
	c.out.Write(binary.BigEndian.AppendUint16(nil, uint16(len(answer))))
	c.out.Write(answer)
	return len(frame), nil
}

func (c *dnsConn) answer(query dnsmessage.Message) ([]byte, error) {
	q := query.Questions[0]
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: query.ID, Response: true, RecursionAvailable: true, Authoritative: true},
		Questions: query.Questions,
	}
	addrs := c.answers(strings.ToLower(strings.TrimSuffix(q.Name.String(), ".")))
	if addrs == nil {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range addrs {
		head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return m.Pack()
}

func (c *dnsConn) Read(p []byte) (int, error) {
	if c.out.Len() == 0 {
		return 0, io.EOF
	}
	return c.out.Read(p)
}

func (c *dnsConn) Close() error { return nil }

func (c *dnsConn) SetDeadline(time.Time) error { return nil }
