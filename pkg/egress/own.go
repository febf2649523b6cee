package egress

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// ownRefresh is how long a list of the machine's addresses is good for. Listing
// takes a netlink round trip, too much for every dial.
const ownRefresh = 30 * time.Second

// ownAddresses is the set of addresses on this machine's interfaces.
type ownAddresses struct {
	list func() ([]netip.Addr, error)

	mu     sync.Mutex
	listed time.Time
	set    map[netip.Addr]struct{}
}

// contains says whether addr, without zone and unmapped, is on an interface. If
// listing fails, the last list stays in force; the first must succeed.
func (o *ownAddresses) contains(addr netip.Addr) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.set == nil || time.Since(o.listed) >= ownRefresh {
		if err := o.refresh(); err != nil && o.set == nil {
			return false, err
		}
	}
	_, own := o.set[addr]
	return own, nil
}

func (o *ownAddresses) refresh() error {
	addrs, err := o.list()
	if err != nil {
		return err
	}
	o.set = make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		o.set[a.WithZone("").Unmap()] = struct{}{}
	}
	o.listed = time.Now()
	return nil
}

// interfaceAddrs asks the system.
func interfaceAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.Addr, 0, len(list))
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs, nil
}
