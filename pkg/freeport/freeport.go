// Package freeport gives tests ports for servers that are to be reached again where
// they were before. Nothing but tests is to use it.
package freeport

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
)

// last is the port that Get gave last. Packages are tested at the same time, and so
// each begins somewhere else.
var last atomic.Int32

func init() { last.Store(10_000 + rand.Int32N(10_000)) }

// Get returns a port of 127.0.0.1 that nobody listens on. It is below those that
// systems give to connections, and to listeners that do not say which one they want:
// one of these may take any of those while its server is away.
func Get(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := int(last.Add(1))
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no port is free")
	return 0
}
