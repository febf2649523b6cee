package egress

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// maxIdentities bounds the identities kept with their connections while no
	// exchange uses them.
	maxIdentities = 1024
	// identityIdle is how long one is kept that no exchange uses.
	identityIdle = 5 * time.Minute
	// recheck is how often an identity's files are read at most.
	recheck = 3 * time.Second
)

// identities holds a transport for each identity: connections that were made as
// one must never carry the requests of another.
type identities struct {
	transport func(*tls.Config) *http.Transport
	roots     *x509.CertPool
	warn      func(error)

	mu  sync.Mutex
	all map[Identity]*kept
}

// kept is one identity. users, used and drop belong to identities.mu, the rest
// to its own.
type kept struct {
	users int
	used  time.Time
	drop  *time.Timer

	mu        sync.Mutex
	transport *http.Transport // nil before the identity was read
	from      Identity        // what the transport was made of
	checked   time.Time
	warned    string
}

// acquire returns the identity's transport for one exchange, after which release
// must be called.
func (p *identities) acquire(id Identity) (transport *http.Transport, release func(), err error) {
	k := p.hold(id)
	transport, err = p.current(k, id)
	if err != nil {
		p.release(k, id, nil)
		return nil, nil, err
	}
	return transport, func() { p.release(k, id, transport) }, nil
}

func (p *identities) hold(id Identity) *kept {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.all[id]
	if k == nil {
		if len(p.all) >= maxIdentities {
			p.dropOldest()
		}
		if p.all == nil {
			p.all = make(map[Identity]*kept)
		}
		k = &kept{}
		p.all[id] = k
	}
	if k.drop != nil {
		k.drop.Stop() // if it fired already, it finds a user
	}
	k.users++
	return k
}

// current returns the transport of what the identity is now. What cannot be used
// leaves the one before in force, if there was one: a certificate and its key are
// seldom replaced in the same moment.
func (p *identities) current(k *kept, id Identity) (*http.Transport, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.transport != nil && (!id.onFiles() || time.Since(k.checked) < recheck) {
		return k.transport, nil
	}
	k.checked = time.Now()
	now, err := id.read()
	if err == nil && k.transport != nil && now == k.from {
		k.warned = ""
		return k.transport, nil
	}
	var config *tls.Config
	if err == nil {
		config, err = now.config(p.roots)
	}
	switch {
	case err != nil && k.transport == nil:
		return nil, err
	case err != nil:
		p.warnOnce(k, err)
		return k.transport, nil
	}
	if k.transport != nil {
		k.transport.CloseIdleConnections()
	}
	k.transport, k.from, k.warned = p.transport(config), now, ""
	return k.transport, nil
}

func (p *identities) warnOnce(k *kept, err error) {
	if p.warn != nil && k.warned != err.Error() {
		p.warn(fmt.Errorf("a changed TLS identity cannot be used, the one before stays in force: %w", err))
	}
	k.warned = err.Error()
}

// release ends an exchange. It closes what net/http put back into a pool that
// nobody will take it from.
func (p *identities) release(k *kept, id Identity, used *http.Transport) {
	k.mu.Lock()
	outdated := used != nil && used != k.transport
	k.mu.Unlock()
	if outdated {
		used.CloseIdleConnections()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k.users--
	k.used = time.Now()
	switch {
	case k.users > 0:
	case used == nil || len(p.all) > maxIdentities || p.all[id] != k:
		p.forget(k, id)
	case k.drop == nil:
		k.drop = time.AfterFunc(identityIdle, func() { p.expire(k, id) })
	default:
		k.drop.Reset(identityIdle)
	}
}

func (p *identities) expire(k *kept, id Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k.users == 0 && time.Since(k.used) >= identityIdle {
		p.forget(k, id)
	}
}

// dropOldest makes room by the identity that was unused for longest. If all are
// in use there is none to drop, and the bound is the number of exchanges.
func (p *identities) dropOldest() {
	var oldest *kept
	var name Identity
	for id, k := range p.all {
		if k.users == 0 && (oldest == nil || k.used.Before(oldest.used)) {
			oldest, name = k, id
		}
	}
	if oldest != nil {
		p.forget(oldest, name)
	}
}

// forget drops an identity that no exchange uses.
func (p *identities) forget(k *kept, id Identity) {
	if p.all[id] == k {
		delete(p.all, id)
	}
	if k.drop != nil {
		k.drop.Stop()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.transport != nil {
		k.transport.CloseIdleConnections()
	}
}

// close drops all identities that no exchange uses.
func (p *identities) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, k := range p.all {
		if k.users == 0 {
			p.forget(k, id)
		}
	}
}
