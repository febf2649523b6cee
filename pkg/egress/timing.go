package egress

import (
	"crypto/tls"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// clocks notes when the parts of an exchange begin and end. A dial goes on when
// its exchange is over, so that each is written and read by itself.
type clocks struct {
	dial, name, connected clock
	tlsBegins, tlsEnds    clock
	written, first        clock
}

// clock is a moment in nanoseconds since the process began; 0 is never.
type clock struct{ at atomic.Int64 }

var epoch = time.Now()

func (c *clock) set() { c.at.Store(int64(time.Since(epoch))) }

// once sets the clock unless it was set before.
func (c *clock) once() { c.at.CompareAndSwap(0, int64(time.Since(epoch))) }

// since returns the time between two moments, 0 where one of them never was.
func (c *clock) since(begin *clock) time.Duration {
	from, to := begin.at.Load(), c.at.Load()
	if from == 0 || to < from {
		return 0
	}
	return time.Duration(to - from)
}

func (c *clocks) dials()    { c.name.at.Store(0); c.dial.set() }
func (c *clocks) resolved() { c.name.once() } // the first address of several
func (c *clocks) dialed()   { c.connected.set() }

func (c *clocks) shakes()                          { c.tlsBegins.set() }
func (c *clocks) shook(tls.ConnectionState, error) { c.tlsEnds.set() }
func (c *clocks) wrote(httptrace.WroteRequestInfo) { c.written.set() }
func (c *clocks) answered()                        { c.first.set() }

func (c *clocks) timing() Timing {
	t := Timing{DNS: c.name.since(&c.dial), TLS: c.tlsEnds.since(&c.tlsBegins), FirstByte: c.first.since(&c.written)}
	begin := &c.name
	if begin.at.Load() == 0 {
		begin = &c.dial // by the proxy, or no address was tried
	}
	t.Connect = c.connected.since(begin)
	return t
}
