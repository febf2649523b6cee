package config

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"jethook/pkg/egress"
	"jethook/pkg/natsconn"
)

// set gives the process an environment with these variables and no others of
// ours.
func set(t *testing.T, variables ...string) {
	t.Helper()
	for _, line := range os.Environ() {
		name, value, _ := strings.Cut(line, "=")
		if strings.HasPrefix(name, "JETHOOK_") || strings.HasPrefix(name, "NATS_") {
			t.Setenv(name, value) // restores it afterwards
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
}

func load(t *testing.T, variables ...string) Config {
	t.Helper()
	set(t, variables...)
	c, err := Load()
	if err != nil {
		t.Fatalf("%q: %v", variables, err)
	}
	return c
}

var defaults = Config{
	Namespace: "webhooks", HTTPAddr: "127.0.0.1:8080", DataDir: "./data", NATSListen: "127.0.0.1:4222", NATSSync: "always",
	StreamReplicas: 1, MaxInFlight: 256, TenantEndpoints: 10_000, AttemptLog: "all", LogLevel: zerolog.InfoLevel, ShutdownGrace: 25 * time.Second, MetricsEndpoints: 20,
	NotifyAfter: 30 * time.Second, NotifyEvery: 5 * time.Minute,
}

func TestDefaults(t *testing.T) {
	if c := load(t); !reflect.DeepEqual(c, defaults) {
		t.Errorf("without variables: %+v\nwant %+v", c, defaults)
	}
}

const aKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// contract is every variable that users rely on, a value beside the default,
// and what it makes of the configuration.
var contract = []struct {
	name, initial, value string
	want                 func(*Config)
}{
	{"NATS_URL", "", "nats://a:4222", func(c *Config) { c.NATS.URL = "nats://a:4222" }},
	{"NATS_CONTEXT", "", "prod", func(c *Config) { c.NATS.Context = "prod" }},
	{"NATS_CREDS", "", "f", func(c *Config) { c.NATS.Creds = "f" }},
	{"NATS_NKEY", "", "f", func(c *Config) { c.NATS.Nkey = "f" }},
	{"NATS_USER", "", "u", func(c *Config) { c.NATS.User = "u" }},
	{"NATS_PASSWORD", "", "p", func(c *Config) { c.NATS.Password = "p" }},
	{"NATS_TOKEN", "", "t", func(c *Config) { c.NATS.Token = "t" }},
	{"NATS_CA", "", "f", func(c *Config) { c.NATS.CA = "f" }},
	{"NATS_CERT", "", "f", func(c *Config) { c.NATS.Cert = "f" }},
	{"NATS_KEY", "", "f", func(c *Config) { c.NATS.Key = "f" }},
	{"NATS_INBOX_PREFIX", "", "_INBOX_worker", func(c *Config) { c.NATS.InboxPrefix = "_INBOX_worker" }},
	{"JETHOOK_NAMESPACE", "webhooks", "acme", func(c *Config) { c.Namespace = "acme" }},
	{"JETHOOK_HTTP_ADDR", "127.0.0.1:8080", ":80", func(c *Config) { c.HTTPAddr = ":80" }},
	{"JETHOOK_DATA_DIR", "./data", "/x", func(c *Config) { c.DataDir = "/x" }},
	{"JETHOOK_NATS_LISTEN", "127.0.0.1:4222", "[::1]:4222", func(c *Config) { c.NATSListen = "[::1]:4222" }},
	{"JETHOOK_NATS_SYNC", "always", "1s", func(c *Config) { c.NATSSync = "1s" }},
	{"JETHOOK_ENDPOINTS_FILE", "", "f.yaml", func(c *Config) { c.EndpointsFile = "f.yaml" }},
	{"JETHOOK_STREAM_REPLICAS", "1", "3", func(c *Config) { c.StreamReplicas = 3 }},
	{"JETHOOK_MAX_IN_FLIGHT", "256", "7", func(c *Config) { c.MaxInFlight = 7 }},
	{"JETHOOK_LANES", "", "default", func(c *Config) { c.Lanes = []string{"default"} }},
	{"JETHOOK_EGRESS_ALLOW", "", "127.0.0.0/8, ::1", func(c *Config) {
		c.EgressAllow = []egress.Rule{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")}}
	}},
	{"JETHOOK_EGRESS_DENY", "", "[2001:4860::/32]:443", func(c *Config) {
		c.EgressDeny = []egress.Rule{{Prefix: netip.MustParsePrefix("2001:4860::/32"), Port: 443}}
	}},
	{"JETHOOK_EGRESS_PROXY", "", "http://u:CANARY@10.0.0.1:3128", func(c *Config) { c.EgressProxy = "http://u:CANARY@10.0.0.1:3128" }},
	{"JETHOOK_ALLOW_HTTP", "false", "true", func(c *Config) { c.AllowHTTP = true }},
	{"JETHOOK_MASTER_KEYS", "", aKey, func(c *Config) { c.MasterKeys = aKey }},
	{"JETHOOK_TENANT_ENDPOINTS", "10000", "0", func(c *Config) { c.TenantEndpoints = 0 }},
	{"JETHOOK_TENANT_RATE", "0", "12.5", func(c *Config) { c.TenantRate = 12.5 }},
	{"JETHOOK_SMTP_URL", "", "smtps://u:CANARY@mail.example.com", func(c *Config) { c.SMTPUrl = "smtps://u:CANARY@mail.example.com" }},
	{"JETHOOK_SMTP_FROM", "", "jethook@example.com", func(c *Config) { c.SMTPFrom = "jethook@example.com" }},
	{"JETHOOK_NOTIFY_AFTER", "30s", "1m", func(c *Config) { c.NotifyAfter = time.Minute }},
	{"JETHOOK_NOTIFY_EVERY", "5m", "1h", func(c *Config) { c.NotifyEvery = time.Hour }},
	{"JETHOOK_ATTEMPT_LOG", "all", "failures", func(c *Config) { c.AttemptLog = "failures" }},
	{"JETHOOK_LOG_LEVEL", "info", "debug", func(c *Config) { c.LogLevel = zerolog.DebugLevel }},
	{"JETHOOK_LOG_FORMAT", "", "console", func(c *Config) { c.LogFormat = "console" }},
	{"JETHOOK_SHUTDOWN_GRACE", "25s", "1m", func(c *Config) { c.ShutdownGrace = time.Minute }},
	{"JETHOOK_METRICS_ENDPOINTS", "20", "0", func(c *Config) { c.MetricsEndpoints = 0 }},
}

// What is described is what is read: the same names, the same defaults, and
// each one changes the configuration.
func TestEveryVariableIsDescribedAndRead(t *testing.T) {
	described := Describe()
	for i, c := range contract {
		if i >= len(described) || described[i].Name != c.name || described[i].Default != c.initial {
			t.Errorf("variable %d is not described as %s=%s", i, c.name, c.initial)
			continue
		}
		if described[i].Description == "" {
			t.Errorf("%s has no description", c.name)
		}
		if c.want == nil {
			continue
		}
		want := defaults
		c.want(&want)
		if got := load(t, c.name+"="+c.value); !reflect.DeepEqual(got, want) {
			t.Errorf("%s=%s: %+v\nwant %+v", c.name, c.value, got, want)
		}
		if c.initial != "" {
			if got := load(t, c.name+"="+c.initial); !reflect.DeepEqual(got, defaults) {
				t.Errorf("the default %s=%s, spelled out, gives %+v", c.name, c.initial, got)
			}
		}
	}
	if len(described) != len(contract) {
		t.Errorf("%d variables are described, %d are in the contract", len(described), len(contract))
	}
	if fields := reflect.TypeFor[Config]().NumField() - 1 + reflect.TypeFor[natsconn.Options]().NumField(); fields != len(contract) {
		t.Errorf("%d fields, %d variables", fields, len(contract))
	}
}

func TestVariables(t *testing.T) {
	var want []string
	for _, c := range contract {
		if strings.HasPrefix(c.name, "JETHOOK_") {
			want = append(want, c.name)
		}
	}
	if got := Variables(); !slices.Equal(got, want) {
		t.Errorf("Variables() = %q, want %q", got, want)
	}
}

func TestUnknownVariables(t *testing.T) {
	for name, near := range map[string]string{
		"JETHOOK_NAMESPCE": "JETHOOK_NAMESPACE", "JETHOOK_MAX_INFLIGHT": "JETHOOK_MAX_IN_FLIGHT", "JETHOOK_HTTP_ADDRESS": "JETHOOK_HTTP_ADDR",
		"JETHOOK_ENDPOINT_FILE": "JETHOOK_ENDPOINTS_FILE", "JETHOOK_LOGLEVEL": "JETHOOK_LOG_LEVEL", "JETHOOK_HTTPADDR": "JETHOOK_HTTP_ADDR",
		"JETHOOK_EGRESS_ALLOWED": "JETHOOK_EGRESS_ALLOW", "JETHOOK_": "", "JETHOOK_ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ": "", "JETHOOK_HTTP_PORT": "",
		"JETHOOK_SERVICE_ACCOUNT": "", "JETHOOK_PORT": "",
	} {
		set(t, name+"=1")
		_, err := Load()
		if err == nil || !strings.Contains(err.Error(), "unknown variable "+name) || !strings.Contains(err.Error(), near) {
			t.Errorf("%s: %v, want an error that names it and %s", name, err, near)
		}
	}
	set(t, "JETHOOK_NAMESPCE=a", "JETHOOK_LOG_LEVL=b")
	if _, err := Load(); err == nil || !strings.Contains(err.Error(), "NAMESPCE") || !strings.Contains(err.Error(), "LEVL") {
		t.Errorf("two unknown variables: %v, want both named", err)
	}
}

// A Service beside the container is nobody's mistake.
func TestKubernetesVariablesAreLetThrough(t *testing.T) {
	for _, service := range []string{"JETHOOK", "JETHOOK_METRICS"} {
		c := load(t, service+"_SERVICE_HOST=10.0.0.1", service+"_SERVICE_PORT=8080", service+"_SERVICE_PORT_HTTP=8080",
			service+"_PORT=tcp://10.0.0.1:8080", service+"_PORT_8080_TCP=tcp://10.0.0.1:8080", service+"_PORT_8080_TCP_PROTO=tcp",
			service+"_PORT_8080_TCP_PORT=8080", service+"_PORT_8080_TCP_ADDR=10.0.0.1", service+"_PORT_53_UDP=udp://10.0.0.1:53")
		if !reflect.DeepEqual(c, defaults) {
			t.Errorf("the variables of %s change the configuration to %+v", service, c)
		}
	}
}

func TestBadValues(t *testing.T) {
	for variable, allowed := range map[string]string{
		"JETHOOK_NAMESPACE=Web.hooks":                "1 to 63 of a-z",
		"JETHOOK_NAMESPACE=":                         "1 to 63 of a-z",
		"JETHOOK_NATS_SYNC=never":                    "must be always, or an interval",
		"JETHOOK_NATS_SYNC=0s":                       "must be always, or an interval",
		"JETHOOK_NATS_SYNC=2h":                       "must be always, or an interval",
		"JETHOOK_NATS_SYNC=-1s":                      "must be always, or an interval",
		"JETHOOK_HTTP_ADDR=8080":                     "must be host:port",
		"JETHOOK_HTTP_ADDR=":                         "must be host:port",
		"JETHOOK_NATS_LISTEN=localhost":              "must be host:port",
		"JETHOOK_NATS_LISTEN=localhost:":             "must be host:port",
		"JETHOOK_STREAM_REPLICAS=2":                  "must be 1, 3 or 5",
		"JETHOOK_STREAM_REPLICAS=0":                  "must be 1, 3 or 5",
		"JETHOOK_STREAM_REPLICAS=three":              "must be a whole number",
		"JETHOOK_MAX_IN_FLIGHT=0":                    "must be 2 to 10000",
		"JETHOOK_MAX_IN_FLIGHT=10001":                "must be 2 to 10000",
		"JETHOOK_MAX_IN_FLIGHT=99999999999999999999": "must be a whole number",
		"JETHOOK_LANES=Fast":                         "must be 1 to 63 of",
		"JETHOOK_LANES=default,":                     "must be 1 to 63 of",
		"JETHOOK_EGRESS_ALLOW=localhost":             "network such as 10.0.0.0/8",
		"JETHOOK_EGRESS_ALLOW=127.0.0.0/8,":          "network such as 10.0.0.0/8",
		"JETHOOK_EGRESS_ALLOW=127.0.0.0/33":          "network such as 10.0.0.0/8",
		"JETHOOK_EGRESS_ALLOW=10.0.0.1:0":            "a plain number from 1 to 65535",
		"JETHOOK_EGRESS_DENY=example.com":            "network such as 10.0.0.0/8",
		"JETHOOK_EGRESS_PROXY=c2VjcmV0:3128":         "is no proxy's URL",
		"JETHOOK_EGRESS_PROXY=http://:c2VjcmV0@":     "is no proxy's URL",
		"JETHOOK_EGRESS_PROXY=http://c2VjcmV0@ a":    "is no proxy's URL",
		"JETHOOK_EGRESS_PROXY=socks5://c2VjcmV0@a:1": "is no proxy's URL",
		"JETHOOK_EGRESS_PROXY=http://a:1/c2VjcmV0":   "must end after host and port",
		"JETHOOK_TENANT_ENDPOINTS=-1":                "must be 0 to 1000000",
		"JETHOOK_TENANT_ENDPOINTS=1000001":           "must be 0 to 1000000",
		"JETHOOK_TENANT_ENDPOINTS=many":              "must be a whole number",
		"JETHOOK_TENANT_RATE=-1":                     "must be 0 to 1000000",
		"JETHOOK_TENANT_RATE=NaN":                    "must be 0 to 1000000",
		"JETHOOK_TENANT_RATE=many":                   "must be a number",
		"JETHOOK_METRICS_ENDPOINTS=-1":               "must be 0 to 1000",
		"JETHOOK_METRICS_ENDPOINTS=1001":             "must be 0 to 1000",
		"JETHOOK_SMTP_URL=smtp://c2VjcmV0@":          "scheme, user, password, host and port alone",
		"JETHOOK_SMTP_URL=mail.c2VjcmV0.com:465":     "smtps://user:password@mail.example.com:465",
		"JETHOOK_NOTIFY_AFTER=0s":                    "must be 100ms to 1h",
		"JETHOOK_NOTIFY_EVERY=10ms":                  "must be 1s to 24h",
		"JETHOOK_ALLOW_HTTP=yes":                     "must be true or false",
		"JETHOOK_ALLOW_HTTP=":                        "must be true or false",
		"JETHOOK_MASTER_KEYS=c2VjcmV0":               "master key 1 has 6 bytes",
		"JETHOOK_LOG_LEVEL=loud":                     "must be trace, debug, info, warn or error",
		"JETHOOK_LOG_LEVEL=":                         "must be trace, debug, info, warn or error",
		"JETHOOK_LOG_LEVEL=disabled":                 "must be trace, debug, info, warn or error",
		"JETHOOK_LOG_FORMAT=xml":                     "must be json or console",
		"JETHOOK_SHUTDOWN_GRACE=25":                  "must be a duration such as 25s",
		"JETHOOK_SHUTDOWN_GRACE=-1s":                 "must be 0 to 1h",
		"JETHOOK_SHUTDOWN_GRACE=2h":                  "must be 0 to 1h",
	} {
		set(t, variable)
		name, _, _ := strings.Cut(variable, "=")
		_, err := Load()
		if err == nil || !strings.Contains(err.Error(), name+"=") || !strings.Contains(err.Error(), allowed) {
			t.Errorf("%s: %v, want an error that names it and %q", variable, err, allowed)
		}
		if err != nil && strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%s: the key is in the error: %v", name, err)
		}
	}
	set(t, "JETHOOK_STREAM_REPLICAS=2", "JETHOOK_LOG_FORMAT=xml")
	if _, err := Load(); err == nil || !strings.Contains(err.Error(), "REPLICAS") || !strings.Contains(err.Error(), "FORMAT") {
		t.Errorf("two bad values: %v, want both named", err)
	}
}

func TestSyncInterval(t *testing.T) {
	for value, want := range map[string]time.Duration{"always": 0, "1ms": time.Millisecond, "1h": time.Hour, "1m30s": 90 * time.Second} {
		if got, err := (Config{NATSSync: value}).SyncInterval(); err != nil || got != want {
			t.Errorf("SyncInterval of %s is %s, %v, want %s", value, got, err, want)
		}
	}
}

func TestEgressRules(t *testing.T) {
	c := load(t, "JETHOOK_EGRESS_ALLOW=10.1.2.3/8,192.168.1.1:8443,::ffff:172.16.0.1,fd00::/8", "JETHOOK_EGRESS_DENY=8.8.8.8, 1.0.0.0/8:80", "JETHOOK_ALLOW_HTTP=true")
	o, err := c.Egress()
	if err != nil || !o.AllowHTTP {
		t.Errorf("%t, %v", o.AllowHTTP, err)
	}
	if got, want := fmt.Sprint(o.Allow, o.Deny), "[10.0.0.0/8 192.168.1.1:8443 172.16.0.1 fd00::/8] [8.8.8.8 1.0.0.0/8:80]"; got != want {
		t.Errorf("the rules are %s, want %s", got, want)
	}
}

func TestProxy(t *testing.T) {
	for given, host := range map[string]string{"": "", "http://10.0.0.1:3128": "10.0.0.1:3128", "https://u:CANARY@proxy.example.com/": "proxy.example.com"} {
		c := load(t, "JETHOOK_EGRESS_PROXY="+given)
		o, err := c.Egress()
		if err != nil || (o.Proxy != nil) != (given != "") || o.Proxy != nil && o.Proxy.Host != host {
			t.Errorf("%s: %v, %v", given, o.Proxy, err)
		}
		if text := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(text, "CANARY") {
			t.Errorf("the configuration prints the proxy's password: %s", text)
		}
	}
}

// The README's table is what Describe says.
func TestREADMEHasEveryVariable(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range Describe() {
		value := ""
		if v.Default != "" {
			value = "`" + v.Default + "`"
		}
		if row := fmt.Sprintf("\n| `%s` | %s | %s |\n", v.Name, value, v.Description); !strings.Contains(string(readme), row) {
			t.Errorf("the README lacks the row %s", row)
		}
	}
}
