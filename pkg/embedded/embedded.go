// Package embedded promises a NATS server with JetStream inside this process,
// whose acknowledged messages survive the machine's crash and which no other
// machine reaches without credentials, or an error that says what to set.
package embedded

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// Options say where the server keeps its store and where it listens.
type Options struct {
	DataDir string        // the store lies in nats/ below it
	Listen  string        // host:port for the nats CLI and for other replicas; port 0 is any
	Sync    time.Duration // 0: every publish is on the disk before it is acknowledged; else the interval
	Login   Login         // demanded of everybody; beyond loopback there must be one
	Logger  zerolog.Logger
}

// Server is a running server.
type Server struct {
	*server.Server
	lock *os.File
}

// Start starts a server and returns when it accepts connections.
func Start(o Options) (*Server, error) {
	host, port, err := address(o)
	if err != nil {
		return nil, err
	}
	store := filepath.Join(o.DataDir, "nats")
	if err := os.MkdirAll(store, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w: set JETHOOK_DATA_DIR to one that can be written", err)
	}
	lock, err := lockStore(store)
	if err != nil {
		return nil, err
	}
	s, err := start(o, host, port, store)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Server{s, lock}, nil
}

func start(o Options, host string, port int, store string) (*server.Server, error) {
	options := &server.Options{
		ServerName:   "jethook",
		Host:         host,
		Port:         port,
		JetStream:    true,
		StoreDir:     store,
		SyncAlways:   o.Sync == 0,
		SyncInterval: o.Sync,
		NoSigs:       true,

		DisableJetStreamBanner: true,
	}
	if o.Login.complete() {
		options.CustomClientAuthentication = o.Login
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	fatal := make(chan string, 1)
	s.SetLoggerV2(logger{o.Logger, fatal}, false, false, false)
	s.Start() // reads the store, however large
	if err := ready(s, fatal); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("embedded NATS server with its store in %s: %w", store, err)
	}
	return s, nil
}

// ready waits until the server accepts connections, or has said why it never
// will.
func ready(s *server.Server, fatal <-chan string) error {
	const patience = 30 * time.Second
	for start := time.Now(); !s.ReadyForConnections(100 * time.Millisecond); {
		select {
		case why := <-fatal:
			return errors.New(why)
		default:
		}
		if time.Since(start) > patience {
			return fmt.Errorf("not ready after %s: see its messages above", patience)
		}
	}
	return nil
}

// URL returns where the server can be reached.
func (s *Server) URL() string { return s.ClientURL() }

// Stop shuts the server down and returns when its store is closed.
func (s *Server) Stop() error {
	s.Shutdown()
	s.WaitForShutdown()
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("release the store's lock: %w", err)
	}
	return nil
}

// address splits and tries the address, because the server itself would only
// log that it cannot listen. Where any port will do, the server takes one itself:
// another process may have that of the try by then.
func address(o Options) (host string, port int, err error) {
	listen := o.Listen
	l, err := net.Listen("tcp", listen) //nolint:noctx // returns at once
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return "", 0, fmt.Errorf("cannot listen on %s, the port is taken: to join the NATS server or the jethook that runs there set NATS_URL=nats://%s, or set JETHOOK_NATS_LISTEN to a free address", listen, listen)
		}
		return "", 0, fmt.Errorf("cannot listen on %s: set JETHOOK_NATS_LISTEN to a host:port of this machine (%w)", listen, err)
	}
	host, named, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, errors.Join(err, l.Close())
	}
	tried := l.Addr().(*net.TCPAddr)
	port = tried.Port
	if err := l.Close(); err != nil {
		return "", 0, fmt.Errorf("try %s: %w", net.JoinHostPort(host, strconv.Itoa(port)), err)
	}
	if strings.Trim(named, "0") == "" {
		port = server.RANDOM_PORT
	}
	if !tried.IP.IsLoopback() && !o.Login.complete() {
		return "", 0, fmt.Errorf("JETHOOK_NATS_LISTEN=%s is open to other machines: set NATS_USER and NATS_PASSWORD, or NATS_TOKEN, which the embedded NATS server then demands of everybody, or listen on 127.0.0.1", listen)
	}
	if o.Login.half() {
		return "", 0, errors.New("of NATS_USER and NATS_PASSWORD only one is set: the embedded NATS server demands both of everybody, or none")
	}
	return host, port, nil
}

// lockStore keeps a second server away from the store: two on one store
// destroy it. The lock goes with the process, however it ends.
func lockStore(store string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(store, "jethook.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = fmt.Errorf("the store %s is in use by another jethook: set NATS_URL to join that one as a replica, or JETHOOK_DATA_DIR to a directory of its own (%w)", store, err)
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
