package replica

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
	"jethook/pkg/fleet"
	"jethook/pkg/gate"
	"jethook/pkg/notify"
	"jethook/pkg/telemetry"
	"jethook/streams"
)

// Words say how endpoints' owners are told what happens to them.
type Words struct {
	notify.Settings
	SMTP *notify.SMTP // takes e-mail; nil: none is sent
}

// words are what the worker tells its news to.
type words struct {
	*notify.Notifier
	*notify.Courier
}

// tell begins to tell endpoints' owners what happens to them.
func tell(ctx context.Context, o Options, js jetstream.JetStream, topology streams.Topology, registry *endpoint.Registry, gates *gate.Fleet, replicas *fleet.Fleet, client *egress.Client, counters *telemetry.Words, undo *undo) words {
	restore := func(ctx context.Context) error {
		_, err := topology.Bucket(o.Names.WordsBucket()).Ensure(ctx, js)
		return err
	}
	w := words{
		notify.New(notify.Options{JetStream: js, Names: o.Names, Endpoints: registry, Gates: outages{gates}, Restore: restore, Rank: replicas.Rank, Settings: o.Words.Settings, Said: counters.Said, Logger: o.Logger}),
		notify.NewCourier(notify.CourierOptions{Endpoints: registry, HTTP: client, SMTP: o.Words.SMTP, UserAgent: "jethook/" + o.Version, Brought: counters.Brought, Logger: o.Logger}),
	}
	gates.OnChange(w.GateChanged)
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { w.Notifier.Run(ctx) })
	running.Go(func() { w.Courier.Run(ctx) })
	undo.addBeside("words to endpoints' owners", func() error { stop(); running.Wait(); return nil })
	return w
}

// outages are open gates as their endpoints' owners may know of them: without what
// a receiver answered.
type outages struct{ gates *gate.Fleet }

func (o outages) Outage(name string) (notify.Outage, bool) {
	g, open := o.gates.Get(name)
	return notify.Outage{Since: g.Since, Why: g.Why, Probes: g.Probes, LastStatus: g.LastStatus, LastError: g.LastClass}, open
}

func (o outages) Open() (names []string) {
	o.gates.Each(func(name string, _ gate.Opened) { names = append(names, name) })
	return names
}
