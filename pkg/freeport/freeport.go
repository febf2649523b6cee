// Package freeport gives tests ports for servers that are to be reached again where
// they were before. Nothing but tests is to use it.
package freeport

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// The ports given are below those that systems give to connections, and to listeners
// that do not say which one they want: one of these may take any of those while its
// server is away.
const (
	lowest = 10_000
	blocks = 20
	block  = 500 // ports
)

// claimed is the block of this process, so that packages that are tested at the same
// time never give the same port: the first port of it is listened on until the process
// ends.
var claimed struct {
	mu    sync.Mutex
	first int // 0: none yet
	given int
	guard net.Listener
}

// Get returns a port of 127.0.0.1 that nobody listens on.
func Get(t testing.TB) int {
	t.Helper()
	claimed.mu.Lock()
	defer claimed.mu.Unlock()
	if claimed.first == 0 {
		if err := claim(); err != nil {
			t.Fatal(err)
		}
	}
	for range block {
		port := claimed.first + 1 + claimed.given%(block-1)
		claimed.given++
		l, err := listen(port)
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

func claim() error {
	for _, n := range rand.Perm(blocks) {
		first := lowest + n*block
		if l, err := listen(first); err == nil {
			claimed.first, claimed.guard = first, l
			return nil
		}
	}
	return errors.New("no block of ports is free")
}

func listen(port int) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
}
