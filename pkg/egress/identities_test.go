package egress

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"jethook/pkg/secret"
)

// pool makes identities without connections, and counts the transports.
func pool(warnings *[]string) (p *identities, made func() int) {
	n := 0
	p = &identities{
		transport: func(c *tls.Config) *http.Transport { n++; return &http.Transport{TLSClientConfig: c} },
		warn:      func(err error) { *warnings = append(*warnings, err.Error()) },
	}
	return p, func() int { return n }
}

func use(t *testing.T, p *identities, id Identity) *http.Transport {
	t.Helper()
	transport, release, err := p.acquire(id)
	if err != nil {
		t.Fatal(err)
	}
	release()
	return transport
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A changed file is seen within seconds. While what it holds cannot be used, the
// identity before stays in force, which is said once for each reason.
func TestFilesAreReadAgain(t *testing.T) {
	a := newAuthority(t, "authority") // its times are real ones
	cert1, key1 := a.issue(t, "one")
	cert2, key2 := a.issue(t, "two")
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
		write(t, cert, cert1)
		write(t, key, key1)
		id := Identity{Cert: "file:" + cert, Key: secret.Secret("file:" + key)}
		var warnings []string
		p, made := pool(&warnings)
		defer p.close()
		first := use(t, p, id)

		write(t, cert, cert2)
		write(t, key, key2)
		if use(t, p, id) != first || made() != 1 {
			t.Error("the files are read for every exchange")
		}
		write(t, key, key1)
		<-time.After(recheck)
		for range 3 {
			if use(t, p, id) != first {
				t.Error("a certificate without its key is in force")
			}
			<-time.After(recheck)
		}
		if len(warnings) != 1 {
			t.Errorf("warnings %q, want one", warnings)
		}
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
		if use(t, p, id) != first || len(warnings) != 2 {
			t.Errorf("warnings %q, want another for another reason", warnings)
		}
		<-time.After(recheck)
		write(t, key, key2)
		second := use(t, p, id)
		if second == first || made() != 2 || !slices.Equal(second.TLSClientConfig.Certificates[0].Certificate[0], pair(t, cert2, key2).Certificate[0]) {
			t.Error("the new identity is not in force")
		}
		<-time.After(recheck)
		if use(t, p, id) != second || made() != 2 || len(warnings) != 2 {
			t.Errorf("%d transports, warnings %q; want nothing new for the same content", made(), warnings)
		}
	})
}

func pair(t *testing.T, cert, key string) tls.Certificate {
	t.Helper()
	p, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A request's identity is what its files held when it began, and the connections
// of the old one go when its last request has ended.
func TestRotationOverTheWire(t *testing.T) {
	a := newAuthority(t, "authority")
	srv := whoami(t, a)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	rotate := func(name string) {
		c, k := a.issue(t, name)
		write(t, cert, c)
		write(t, key, k)
	}
	rotate("old")
	id := Identity{Cert: "file:" + cert, Key: secret.Secret("file:" + key), CA: a.pem}
	c := newTestClient(t, Options{Allow: loopback})
	if got, err := doAs(t, c, srv.URL, id); got != "old" {
		t.Fatalf("%q, %v", got, err)
	}
	rotate("new")
	c.identities.all[id].checked = time.Now().Add(-recheck)
	if got, err := doAs(t, c, srv.URL, id); got != "new" {
		t.Errorf("%q, %v; want the new one", got, err)
	}
}

func keeps(p *identities, id Identity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[id] != nil
}

func count(p *identities) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}

func TestIdleIdentitiesAreDropped(t *testing.T) {
	a := newAuthority(t, "authority")
	synctest.Test(t, func(t *testing.T) {
		var warnings []string
		p, _ := pool(&warnings)
		idle, used := Identity{CA: a.pem}, Identity{CA: a.pem + "\n"}
		first := use(t, p, idle)
		_, release, err := p.acquire(used)
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(identityIdle / 2)
		if use(t, p, idle) != first {
			t.Error("dropped too early")
		}
		<-time.After(identityIdle - time.Second)
		synctest.Wait()
		if count(p) != 2 {
			t.Errorf("%d identities are kept, want both: the last use counts", count(p))
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if keeps(p, idle) || !keeps(p, used) {
			t.Errorf("%d identities are kept, want the one in use", count(p))
		}
		release()
		<-time.After(identityIdle + time.Second)
		synctest.Wait()
		if count(p) != 0 {
			t.Errorf("%d identities are kept, want none", count(p))
		}
	})
}

// The one that was unused for longest makes room; one in use never does.
func TestIdentitiesAreBounded(t *testing.T) {
	a := newAuthority(t, "authority")
	synctest.Test(t, func(t *testing.T) {
		var warnings []string
		p, _ := pool(&warnings)
		defer p.close()
		nth := func(n int) Identity { return Identity{CA: a.pem + string(make([]byte, n))} }
		var releases []func()
		for n := range 2 {
			_, release, err := p.acquire(nth(n))
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
		for n := 2; n < maxIdentities+10; n++ {
			use(t, p, nth(n))
			<-time.After(time.Millisecond)
		}
		if count(p) != maxIdentities {
			t.Errorf("%d identities are kept, want %d", count(p), maxIdentities)
		}
		for n := range maxIdentities + 10 {
			if got, want := keeps(p, nth(n)), n < 2 || n >= 12; got != want {
				t.Errorf("identity %d is kept: %v, want %v", n, got, want)
			}
		}
		for n := range maxIdentities + 10 { // all in use: there is none to drop
			_, release, err := p.acquire(nth(n))
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
		for _, release := range releases {
			release()
		}
		if count(p) > maxIdentities {
			t.Errorf("%d identities are kept after a rush, want at most %d", count(p), maxIdentities)
		}
	})
}
