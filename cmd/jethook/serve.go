package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"

	"jethook/config"
	"jethook/pkg/embedded"
	"jethook/pkg/notify"
	"jethook/pkg/replica"
	"jethook/pkg/secret"
	"jethook/pkg/tracing"
	"jethook/streams"
)

type serveCmd struct{}

// Help describes what serve reads.
func (serveCmd) Help() string {
	var text strings.Builder
	text.WriteString("Configured by the environment:\n")
	for _, v := range config.Describe() {
		text.WriteString("\n  " + v.Name)
		if v.Default != "" {
			text.WriteString("=" + v.Default)
		}
		text.WriteString("\n      " + v.Description)
	}
	text.WriteString("\n\nTraces are exported where OTEL_EXPORTER_OTLP_ENDPOINT says; OpenTelemetry's other variables hold, too." +
		"\nSIGUSR1 makes the log a step more detailed, SIGUSR2 a step less.")
	return text.String()
}

// Run runs a replica until a signal comes.
func (serveCmd) Run(ctx context.Context, a *app) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	log, level := newLogger(c, a.Err, a.logTerminal())
	defer level.follow()()
	o, err := replicaOptions(c, log)
	if err != nil {
		return err
	}
	o.Started = func(r replica.Running) {
		if os.Getenv("GOGC") == "" {
			go collect(ctx)
		}
		o.Logger.Info().Str("nats", r.URL).Str("http", r.HTTP).Str("version", version).Msg("jethook delivers")
	}
	err = replica.Run(ctx, o)
	if err == nil {
		o.Logger.Info().Msg("stopped; every running attempt was finished")
	}
	return err
}

// garbage is how much may be left to collect while some tens of megabytes are in
// use, of which it is mostShare at the most. Deliveries are short-lived: collecting
// less often than Go does is worth a fifth of the throughput. With a hundred thousand
// endpoints in use it is leastShare of that: mostShare would be half a gigabyte more,
// and with Go's own share deliveries to all of them have less than four fifths of the
// throughput of one. GOGC and GOMEMLIMIT are the operator's.
const (
	garbage    = 128 << 20
	leastShare = 150 // percent of what is in use
	mostShare  = 400
)

// collectEvery is how often that is set anew. A server inside grows within seconds.
const collectEvery = 2 * time.Second

// collect sets how often garbage is collected by how much is in use, until ctx
// ends.
func collect(ctx context.Context) {
	debug.FreeOSMemory() // what loading the endpoints took
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	ticker := time.NewTicker(collectEvery)
	defer ticker.Stop()
	for {
		metrics.Read(live)
		debug.SetGCPercent(int(min(max(garbage*100/(live[0].Value.Uint64()+1), leastShare), mostShare)))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// replicaOptions turns the configuration into a replica's options.
func replicaOptions(c config.Config, log zerolog.Logger) (replica.Options, error) {
	names, err := streams.NewNames(c.Namespace)
	if err != nil {
		return replica.Options{}, usageError{err}
	}
	sync, err := c.SyncInterval()
	if err != nil {
		return replica.Options{}, usageError{err}
	}
	egress, err := c.Egress()
	if err != nil {
		return replica.Options{}, usageError{err}
	}
	traces, err := tracing.Configured()
	if err != nil {
		return replica.Options{}, usageError{err}
	}
	smtp, err := c.SMTP()
	if err != nil {
		return replica.Options{}, usageError{err}
	}
	ring, found, err := masterKeys(c, log)
	if err != nil {
		return replica.Options{}, err
	}
	return replica.Options{
		Version: version,
		Names:   names,
		NATS:    c.NATS,
		Embedded: &embedded.Options{DataDir: c.DataDir, Listen: c.NATSListen, Sync: sync, Logger: log,
			Login: embedded.Login{User: c.NATS.User, Password: c.NATS.Password, Token: c.NATS.Token}},
		HTTPAddr: c.HTTPAddr, EndpointsFile: c.EndpointsFile, StreamReplicas: c.StreamReplicas,
		MaxInFlight: c.MaxInFlight, Lanes: c.Lanes, Egress: egress, TenantLimit: c.TenantEndpoints, TenantRate: c.TenantRate,
		AttemptLog: c.AttemptLog, Spotlight: c.MetricsEndpoints,
		Words: replica.Words{Settings: notify.Settings{After: c.NotifyAfter, Every: c.NotifyEvery}, SMTP: smtp},
		Grace: c.ShutdownGrace, MasterKeys: ring, FoundKeys: found, Traces: traces, Logger: log,
	}, nil
}

// masterKeys returns the master keys that are configured, and those found in the
// data directory. Whoever brings the NATS server makes a key there if there is
// none; others would each make another.
func masterKeys(c config.Config, log zerolog.Logger) (configured, found *secret.Ring, err error) {
	if configured, err = c.Ring(); err != nil || configured != nil {
		return configured, nil, err
	}
	found, there, err := secret.LoadRing(c.DataDir)
	switch {
	case err != nil:
		return nil, nil, err
	case c.NATS.Named():
		return nil, found, nil
	case !there:
		if found, err = secret.MakeRing(c.DataDir); err != nil {
			return nil, nil, err
		}
		log.Info().Str("file", secret.KeyFile(c.DataDir)).Msg("made a master key that seals the endpoints' secrets: keep a copy, without it they are lost")
	}
	return found, nil, nil
}

// logTerminal reports whether the log goes to a terminal.
func (a *app) logTerminal() bool {
	f, ok := a.Err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
