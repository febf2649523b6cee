// Package config promises that the environment is read once, whole and
// strictly: every variable has a default and a check, and one that jethook does
// not know is an error that names the nearest one it does.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"
	"github.com/rs/zerolog"

	"jethook/pkg/attempt"
	"jethook/pkg/egress"
	"jethook/pkg/natsconn"
	"jethook/pkg/nearest"
	"jethook/pkg/notify"
	"jethook/pkg/secret"
	"jethook/streams"
)

// Config is what the environment says: NATS_* as the nats tools read them, and
// JETHOOK_*.
type Config struct {
	NATS natsconn.Options `ignored:"true"`

	Namespace       string        `default:"webhooks" desc:"first token of every subject, and in capitals the start of every stream's name"`
	HTTPAddr        string        `split_words:"true" default:"127.0.0.1:8080" desc:"where /healthz, /readyz and /metrics are served"`
	DataDir         string        `split_words:"true" default:"./data" desc:"where the embedded NATS server keeps its store, and the file master-keys is"`
	NATSListen      string        `split_words:"true" default:"127.0.0.1:4222" desc:"where the embedded NATS server listens; it demands NATS_USER and NATS_PASSWORD, or NATS_TOKEN, where they are set, and beyond this machine they must be"`
	NATSSync        string        `split_words:"true" default:"always" desc:"when the embedded server's writes reach the disk: always, or an interval such as 1s"`
	EndpointsFile   string        `split_words:"true" desc:"endpoint documents applied at start and whenever the file changes"`
	StreamReplicas  int           `split_words:"true" default:"1" desc:"copies of each stream in a NATS cluster: 1, 3 or 5"`
	MaxInFlight     int           `split_words:"true" default:"256" desc:"attempts at a time in this replica"`
	Lanes           []string      `desc:"lanes that this replica serves, such as default,bulk; all when unset"`
	EgressAllow     []egress.Rule `split_words:"true" desc:"networks beyond the public internet that deliveries may reach, such as 127.0.0.0/8 in a trial, or 10.1.2.3:8443"`
	EgressDeny      []egress.Rule `split_words:"true" desc:"public networks that deliveries may not reach, written like those allowed"`
	EgressProxy     secret.Secret `split_words:"true" desc:"proxy that deliveries go through, such as http://user:password@proxy.example.com:3128; a private one must be among those allowed; none when unset"`
	AllowHTTP       bool          `split_words:"true" default:"false" desc:"accept endpoints with http:// addresses"`
	MasterKeys      secret.Secret `split_words:"true" desc:"keys that seal secrets, separated by commas: the first seals, all open; when unset, those in the file master-keys in the data directory, if secrets are sealed with them"`
	TenantEndpoints int           `split_words:"true" default:"10000" desc:"endpoints that a tenant can have; 0 is no limit"`
	TenantRate      float64       `split_words:"true" default:"0" desc:"deliveries of one tenant that are first attempted a second, by all replicas of a lane together; 0 is no limit"`
	SMTPUrl         secret.Secret `split_words:"true" desc:"mail server for endpoints' contacts, such as smtps://user:password@mail.example.com:465, or smtp://host:587 for STARTTLS; no mail when unset"`
	SMTPFrom        string        `split_words:"true" desc:"address that mail to contacts comes from; jethook at the mail server when unset"`
	NotifyAfter     time.Duration `split_words:"true" default:"30s" desc:"how long an endpoint fails, or works again, before its owner is told"`
	NotifyEvery     time.Duration `split_words:"true" default:"5m" desc:"how often at most an endpoint's owner is told of dead letters; of flapping a twelfth as often"`
	AttemptLog      attempt.Level `split_words:"true" default:"all" desc:"attempts that are logged: all, failures, or off, without which jethook audit knows nothing"`
	LogLevel        zerolog.Level `split_words:"true" default:"info" desc:"trace, debug, info, warn or error"`
	LogFormat       string        `split_words:"true" default:"" desc:"json or console; console on a terminal when unset"`
	ShutdownGrace   time.Duration `split_words:"true" default:"25s" desc:"how long running attempts may take to finish after SIGTERM"`

	MetricsEndpoints int `split_words:"true" default:"20" desc:"how many of the busiest endpoints have metrics of their own, and at most five times as many of those in trouble; 0 is none"`
}

const prefix = "JETHOOK"

// Load reads and checks the environment.
func Load() (Config, error) {
	var c Config
	if err := unknown(); err != nil {
		return Config{}, err
	}
	if err := envconfig.Process("NATS", &c.NATS); err != nil {
		return Config{}, fmt.Errorf("environment: %w", err)
	}
	if err := envconfig.Process(prefix, &c); err != nil {
		return Config{}, explain(err)
	}
	return c, c.Validate()
}

// Validate returns all that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, name, value, allowed string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s_%s=%q: %s", prefix, name, value, allowed))
		}
	}
	err := streams.CheckName(c.Namespace)
	check(err == nil, "NAMESPACE", c.Namespace, fmt.Sprint(err))
	_, err = c.SyncInterval()
	check(err == nil, "NATS_SYNC", c.NATSSync, "must be always, or an interval from 1ms to 1h such as 1s")
	check(hostPort(c.HTTPAddr), "HTTP_ADDR", c.HTTPAddr, "must be host:port, such as 127.0.0.1:8080")
	check(hostPort(c.NATSListen), "NATS_LISTEN", c.NATSListen, "must be host:port, such as 127.0.0.1:4222")
	check(slices.Contains([]int{1, 3, 5}, c.StreamReplicas), "STREAM_REPLICAS", fmt.Sprint(c.StreamReplicas), "must be 1, 3 or 5")
	check(c.MaxInFlight >= 2 && c.MaxInFlight <= 10000, "MAX_IN_FLIGHT", fmt.Sprint(c.MaxInFlight), "must be 2 to 10000: each of the two consumers needs one")
	for _, lane := range c.Lanes {
		err := streams.CheckName(lane)
		check(err == nil, "LANES", strings.Join(c.Lanes, ","), fmt.Sprintf("lane %q %v", lane, err))
	}
	_, err = c.Egress()
	check(err == nil, "EGRESS_PROXY", c.EgressProxy.String(), fmt.Sprint(err))
	_, err = c.Ring()
	check(err == nil, "MASTER_KEYS", c.MasterKeys.String(), fmt.Sprint(err))
	check(c.TenantEndpoints >= 0 && c.TenantEndpoints <= 1_000_000, "TENANT_ENDPOINTS", fmt.Sprint(c.TenantEndpoints), "must be 0 to 1000000, where 0 is no limit")
	// Asked for in the affirmative, because NaN is in no range.
	check(c.TenantRate >= 0 && c.TenantRate <= 1_000_000, "TENANT_RATE", fmt.Sprint(c.TenantRate), "must be 0 to 1000000 a second, where 0 is no limit")
	check(slices.Contains([]attempt.Level{attempt.All, attempt.Failures, attempt.Off}, c.AttemptLog), "ATTEMPT_LOG", string(c.AttemptLog), "must be all, failures or off")
	check(c.MetricsEndpoints >= 0 && c.MetricsEndpoints <= 1000, "METRICS_ENDPOINTS", fmt.Sprint(c.MetricsEndpoints), "must be 0 to 1000, where 0 is none")
	_, err = c.SMTP()
	check(err == nil, "SMTP_URL", c.SMTPUrl.String(), fmt.Sprint(err))
	check(c.NotifyAfter >= 100*time.Millisecond && c.NotifyAfter <= time.Hour, "NOTIFY_AFTER", c.NotifyAfter.String(), "must be 100ms to 1h")
	check(c.NotifyEvery >= time.Second && c.NotifyEvery <= 24*time.Hour, "NOTIFY_EVERY", c.NotifyEvery.String(), "must be 1s to 24h")
	check(c.LogLevel >= zerolog.TraceLevel && c.LogLevel <= zerolog.ErrorLevel, "LOG_LEVEL", c.LogLevel.String(), "must be "+levels)
	check(slices.Contains([]string{"", "json", "console"}, c.LogFormat), "LOG_FORMAT", c.LogFormat, "must be json or console")
	check(c.ShutdownGrace >= 0 && c.ShutdownGrace <= time.Hour, "SHUTDOWN_GRACE", c.ShutdownGrace.String(), "must be 0 to 1h")
	return errors.Join(errs...)
}

// Ring returns the master keys that are configured, nil if there are none.
func (c Config) Ring() (*secret.Ring, error) {
	if c.MasterKeys == "" {
		return nil, nil
	}
	return secret.ParseRing(c.MasterKeys.Reveal())
}

// SyncInterval returns how often the embedded server syncs; 0 is always.
func (c Config) SyncInterval() (time.Duration, error) {
	if c.NATSSync == "always" {
		return 0, nil
	}
	d, err := time.ParseDuration(c.NATSSync)
	if err != nil || d < time.Millisecond || d > time.Hour {
		return 0, fmt.Errorf("%q is neither always nor an interval from 1ms to 1h", c.NATSSync)
	}
	return d, nil
}

// Egress returns what deliveries may reach, and how. An error does not repeat the
// proxy's URL, which may hold a password.
func (c Config) Egress() (egress.Options, error) {
	o := egress.Options{Allow: c.EgressAllow, Deny: c.EgressDeny, AllowHTTP: c.AllowHTTP}
	if c.EgressProxy == "" {
		return o, nil
	}
	var err error
	o.Proxy, err = egress.ParseProxy(c.EgressProxy.Reveal())
	return o, err
}

// SMTP returns the server that takes e-mail, nil if there is none. An error does not
// repeat its URL, which may hold a password.
func (c Config) SMTP() (*notify.SMTP, error) {
	if c.SMTPUrl == "" {
		return nil, nil
	}
	return notify.ParseSMTP(c.SMTPUrl, c.SMTPFrom)
}

// Variables lists the names of all JETHOOK_ variables.
func Variables() []string {
	var names []string
	for _, v := range describe() {
		names = append(names, v.Name)
	}
	return names
}

// orchestrated are the variables that Kubernetes sets in every container beside
// a Service that is called jethook, or jethook-something. They are not ours,
// and no mistake.
var orchestrated = regexp.MustCompile(`^JETHOOK_(\w+_)?(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=\d+|PORT(_\d+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://.*|PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)=.*)$`)

func unknown() error {
	known := Variables()
	var errs []error
	for _, line := range os.Environ() {
		name, _, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(name, prefix+"_") || slices.Contains(known, name) || orchestrated.MatchString(line) {
			continue
		}
		err := fmt.Errorf("unknown variable %s", name)
		if near := nearest.Of(name, known); near != "" {
			err = fmt.Errorf("%w: did you mean %s?", err, near)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// explain names the variable and what it takes, where envconfig would name a
// field of ours.
func explain(err error) error {
	var parse *envconfig.ParseError
	if !errors.As(err, &parse) {
		return fmt.Errorf("environment: %w", err)
	}
	switch parse.TypeName {
	case "time.Duration":
		return fmt.Errorf("%s=%q: must be a duration such as 25s or 1m30s", parse.KeyName, parse.Value)
	case "int":
		return fmt.Errorf("%s=%q: must be a whole number", parse.KeyName, parse.Value)
	case "float64":
		return fmt.Errorf("%s=%q: must be a number", parse.KeyName, parse.Value)
	case "bool":
		return fmt.Errorf("%s=%q: must be true or false", parse.KeyName, parse.Value)
	case "zerolog.Level":
		return fmt.Errorf("%s=%q: must be %s", parse.KeyName, parse.Value, levels)
	}
	return fmt.Errorf("%s=%q: %w", parse.KeyName, parse.Value, parse.Err)
}

const levels = "trace, debug, info, warn or error"

func hostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	return err == nil && port != ""
}
