// Package replica promises a whole replica: everything that one command starts,
// in the order in which it must start, and stopped in the opposite one.
package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"

	"jethook/pkg/attempt"
	"jethook/pkg/deadletter"
	"jethook/pkg/egress"
	"jethook/pkg/embedded"
	"jethook/pkg/endpoint"
	"jethook/pkg/fleet"
	"jethook/pkg/gate"
	"jethook/pkg/natsconn"
	"jethook/pkg/secret"
	"jethook/pkg/telemetry"
	"jethook/pkg/webhook"
	"jethook/pkg/worker"
	"jethook/streams"
)

// Options say what a replica works with.
type Options struct {
	Version        string
	Names          streams.Names
	NATS           natsconn.Options
	Embedded       *embedded.Options // start a server when NATS names none; nil: never
	HTTPAddr       string
	EndpointsFile  string // empty: none
	StreamReplicas int
	MaxInFlight    int
	Spotlight      int            // busiest endpoints with metrics of their own; 0: none
	Lanes          []string       // to be served; empty is all
	Egress         egress.Options // what deliveries may reach, and how
	TenantLimit    int            // endpoints that a tenant can have; 0: no limit
	TenantRate     float64        // first attempts a second that a tenant can have; 0: no limit
	AttemptLog     attempt.Level  // what of the attempts is logged; empty is all
	MasterKeys     *secret.Ring   // seal and open secrets; nil: none are configured
	FoundKeys      *secret.Ring   // take their place where secrets are sealed with them
	Words          Words          // to endpoints' owners
	Grace          time.Duration  // for running attempts at a stop
	Traces         bool           // export them as OpenTelemetry's variables say
	Logger         zerolog.Logger
	// Started is called once the replica delivers. It may be nil.
	Started func(Running)
}

// Running says where a replica that has started can be reached.
type Running struct {
	URL  string // of the NATS server
	HTTP string // host:port

	storage int64 // bytes that the embedded server may store; 0: another server
}

// ErrCutOff is returned by Run when the grace period ended before the running
// attempts did. They were handed back and do not count.
var ErrCutOff = errors.New("attempts were cut off when the grace period ended; they will be made again")

// Run runs a replica until ctx ends and everything is stopped in order.
func Run(ctx context.Context, o Options) (err error) {
	var undo undo
	defer func() { err = errors.Join(err, undo.all(o.Logger)) }()

	if err := egress.CheckProxy(ctx, o.Egress); err != nil {
		return err
	}
	nc, where, err := connect(o, &undo)
	if err != nil {
		return err
	}
	// Without a timeout, an answer that never comes would be awaited for ever.
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(10*time.Second))
	if err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	topology, err := ensure(ctx, o, js)
	if err != nil {
		return err
	}
	kv, err := js.KeyValue(ctx, o.Names.EndpointsBucket())
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", o.Names.EndpointsBucket(), err)
	}
	restricted, err := checkRights(ctx, o, js)
	if err != nil {
		return err
	}
	ring, err := masterKeys(ctx, o, kv)
	if err != nil {
		return explain(nc, err)
	}
	store := endpoint.NewStore(kv, endpoint.Events(streams.NewEventLog(js, o.Names)), endpoint.Sealing(js, ring), endpoint.MaxPerTenant(o.TenantLimit))
	keyless, err := seal(ctx, ring, store, !o.NATS.Named(), o.Logger, &undo)
	if err != nil {
		return explain(nc, err)
	}
	if err := followFile(ctx, o, store, &undo); err != nil {
		return err
	}
	registry := endpoint.NewRegistry(kv, o.Logger, endpoint.Connection(nc), endpoint.Opening(ring))
	if err := registry.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("load endpoints: %w", explain(nc, err))
	}
	undo.add("endpoint registry", func() error { registry.Stop(); return nil })

	restore := worker.Restorer(js, topology, registry.Lanes)
	self := nuid.Next()
	replicas, err := join(ctx, o, js, fleet.Options{
		Self:     fleet.Member{ID: self, Version: o.Version, Started: time.Now().UTC(), Lanes: o.Lanes, Keyless: keyless, Restricted: restricted},
		Revision: registry.Revision, Changed: registry.Changed, Logger: o.Logger,
		Restore: func(ctx context.Context) error {
			_, err := topology.Bucket(o.Names.ReplicasBucket()).Ensure(ctx, js)
			return err
		},
	}, &undo)
	if err != nil {
		return err
	}
	gates, err := openGates(ctx, o, js, self, &undo)
	if err != nil {
		return err
	}

	metrics := telemetry.NewMetrics(o.Version)
	metrics.Endpoints(registry.Len, registry.BrokenLen)
	o.Egress.MaxIdleConnsPerHost = o.MaxInFlight
	o.Egress.Warn = func(err error) {
		o.Logger.Warn().Err(err).Msg("a client certificate or its authorities cannot be read anew; what was read before stays in force")
	}
	client := egress.New(o.Egress)
	undo.add("HTTP client", func() error { client.Close(); return nil })
	attempts := attempt.NewWriter(attempt.Options{
		JetStream: js, Names: o.Names, Level: o.AttemptLog, Replica: self, Counter: metrics, Logger: o.Logger,
		Restore: func(ctx context.Context) error {
			made, err := topology.Stream(o.Names.Attempts()).Ensure(ctx, js)
			if err == nil && len(made) > 0 {
				o.Logger.Warn().Msg("the stream of the attempt log was gone; made it again")
			}
			return err
		},
	})
	trace, err := startTracing(ctx, o, self, &undo)
	if err != nil {
		return err
	}
	words := tell(ctx, o, js, topology, registry, gates, replicas, client, metrics.Words(), &undo)
	w := worker.New(worker.Options{
		JetStream: js, Names: o.Names, MaxInFlight: o.MaxInFlight, TenantRate: o.TenantRate, Lanes: o.Lanes, Schedules: streams.Schedules(nc),
		Spotlight: o.Spotlight, StorageLimit: where.storage,
		Endpoints: registry, Sender: webhook.NewSender(client, o.Version), Documents: store,
		Letters: deadletter.NewWriter(o.Names, nc.MaxPayload), Replicas: replicas, Gates: gates, Words: words,
		Restore: restore, Log: attempts, Metrics: metrics, Trace: trace, Logger: o.Logger,
	})
	startAccounting(ctx, o, js, replicas, metrics, &undo)
	where.HTTP, err = serveHTTP(ctx, o, nc, registry, gates, w, metrics, &undo)
	if err != nil {
		return err
	}
	if o.Started != nil {
		o.Started(where)
	}
	cut, err := w.Run(ctx, o.Grace)
	if cut > 0 {
		err = errors.Join(fmt.Errorf("%d %w", cut, ErrCutOff), err)
	}
	return err
}

// join makes this replica known to the others.
func join(ctx context.Context, o Options, js jetstream.JetStream, f fleet.Options, undo *undo) (*fleet.Fleet, error) {
	kv, err := js.KeyValue(ctx, o.Names.ReplicasBucket())
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", o.Names.ReplicasBucket(), err)
	}
	f.KV = kv
	replicas, err := fleet.Join(ctx, f)
	if err != nil {
		return nil, explain(js.Conn(), err)
	}
	undo.add("place among the replicas", func() error { replicas.Leave(context.WithoutCancel(ctx)); return nil })
	return replicas, nil
}

// openGates follows what the replicas know of open gates.
func openGates(ctx context.Context, o Options, js jetstream.JetStream, self string, undo *undo) (*gate.Fleet, error) {
	kv, err := js.KeyValue(ctx, o.Names.GatesBucket())
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", o.Names.GatesBucket(), err)
	}
	gates := gate.NewFleet(kv, self, o.Logger)
	if err := gates.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, fmt.Errorf("load the open gates: %w", explain(js.Conn(), err))
	}
	undo.add("watch of the gates", func() error { gates.Stop(); return nil })
	return gates, nil
}

// connect connects to the NATS server that is named, or starts one.
func connect(o Options, undo *undo) (*nats.Conn, Running, error) {
	name := "jethook " + o.Version
	if o.NATS.Named() || o.Embedded == nil {
		nc, err := natsconn.Connect(o.NATS, name, o.Logger)
		if err != nil {
			return nil, Running{}, err
		}
		undo.add("NATS connection", func() error { nc.Close(); return nil })
		return nc, Running{URL: natsconn.Server(nc)}, nil
	}
	s, err := embedded.Start(*o.Embedded)
	if err != nil {
		return nil, Running{}, err
	}
	undo.add("embedded NATS server", s.Stop)
	login := o.Embedded.Login
	nc, err := nats.Connect("", append(natsconn.Durable(name, o.Logger), nats.InProcessServer(s),
		nats.UserInfo(login.User, login.Password.Reveal()), nats.Token(login.Token.Reveal()))...)
	if err != nil {
		return nil, Running{}, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	undo.add("NATS connection", func() error { nc.Close(); return nil })
	return nc, Running{URL: s.URL(), storage: s.JetStreamConfig().MaxStore}, nil
}

// ensure makes the topology what it must be, and says where an operator chose
// otherwise.
func ensure(ctx context.Context, o Options, js jetstream.JetStream) (streams.Topology, error) {
	if !streams.Schedules(js.Conn()) {
		o.Logger.Warn().Str("server", js.Conn().ConnectedServerVersion()).
			Msg("this NATS server has no schedules to rely on (2.12.12, 2.14.3 or newer has): long waits stay pending in the consumer")
	}
	topology, err := streams.NewTopology(streams.Options{Names: o.Names, Replicas: o.StreamReplicas})
	if err != nil {
		return streams.Topology{}, err
	}
	differences, err := topology.Ensure(ctx, js)
	if err != nil {
		return streams.Topology{}, err
	}
	for _, d := range differences {
		switch d.Action {
		case streams.Create:
			o.Logger.Info().Msg("made " + d.Name)
		case streams.Update:
			o.Logger.Info().Msg("updated " + d.String())
		case streams.Keep, streams.Conflict:
			o.Logger.Info().Msg("left as it is: " + d.String())
		}
	}
	return topology, nil
}

// explain adds what the server said beside: to what a user may not do it does
// not answer, and the request only times out.
func explain(nc *nats.Conn, err error) error {
	if last := nc.LastError(); errors.Is(last, nats.ErrPermissionViolation) {
		return fmt.Errorf("%w: this user lacks a permission: %w", err, last)
	}
	return err
}

func serveHTTP(ctx context.Context, o Options, nc *nats.Conn, r *endpoint.Registry, gates *gate.Fleet, w *worker.Worker, m *telemetry.Metrics, undo *undo) (string, error) {
	server, err := telemetry.Listen(ctx, o.HTTPAddr, m, func() error {
		switch {
		case ctx.Err() != nil:
			return errors.New("stopping")
		case !nc.IsConnected():
			return errors.New("not connected to NATS")
		case !r.InSync():
			return errors.New("the endpoints are not read yet since the connection was lost")
		case !gates.InSync():
			return errors.New("the open gates cannot be read: without their bucket nothing more goes to endpoints that fail; jethook streams apply makes it")
		case !w.Running():
			return errors.New("not reading the consumers yet")
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	undo.add("HTTP server", func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return errors.Join(server.Shutdown(ctx), <-served)
	})
	return server.Addr(), nil
}
