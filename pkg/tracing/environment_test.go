package tracing

import (
	"os"
	"strings"
	"testing"
)

// environment is OpenTelemetry's part of the environment, and nothing else of it.
func environment(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		t.Setenv(name, value)
	}
}

func TestConfigured(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"
	for _, c := range []struct {
		name   string
		env    []string
		on     bool
		errors string // words of it
	}{
		{"nothing", nil, false, ""},
		{"an endpoint", []string{endpoint}, true, ""},
		{"one for traces", []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://example.com/v1/traces"}, true, ""},
		{"the exporter's name", []string{"OTEL_TRACES_EXPORTER=otlp"}, true, ""},
		{"switched off", []string{endpoint, "OTEL_SDK_DISABLED=TRUE"}, false, ""},
		{"not switched off", []string{endpoint, "OTEL_SDK_DISABLED=false"}, true, ""},
		{"traces off", []string{endpoint, "OTEL_TRACES_EXPORTER=none"}, false, ""},
		{"off, and nonsense", []string{"OTEL_TRACES_SAMPLER=nonsense", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, false, ""},
		{"another exporter", []string{endpoint, "OTEL_TRACES_EXPORTER=zipkin"}, false, "OTEL_TRACES_EXPORTER|otlp or none"},
		{"another protocol", []string{endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, true, "OTEL_EXPORTER_OTLP_PROTOCOL|http/protobuf|4318"},
		{"its own protocol", []string{endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"}, true, ""},
		{"an endpoint without a scheme", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=canary:4318"}, true, "OTEL_EXPORTER_OTLP_ENDPOINT|http://127.0.0.1:4318"},
		{"an endpoint with a password", []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://u:canary@example.com"}, true, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT|without a user"},
		{"an endpoint that is none", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://[canary"}, true, "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{"a sampler", []string{endpoint, "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.25"}, true, ""},
		{"an unknown sampler", []string{endpoint, "OTEL_TRACES_SAMPLER=some"}, true, "OTEL_TRACES_SAMPLER|parentbased_always_on"},
		{"a ratio above 1", []string{endpoint, "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=25"}, true, "OTEL_TRACES_SAMPLER_ARG|0 to 1"},
		{"a ratio that is none", []string{endpoint, "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=NaN"}, true, "OTEL_TRACES_SAMPLER_ARG"},
		{"headers", []string{endpoint, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20x,a=b"}, true, ""},
		{"headers without a value", []string{endpoint, "OTEL_EXPORTER_OTLP_HEADERS=canary"}, true, "OTEL_EXPORTER_OTLP_HEADERS|name=value"},
		{"headers that are not encoded", []string{endpoint, "OTEL_EXPORTER_OTLP_TRACES_HEADERS=a=%zcanary"}, true, "OTEL_EXPORTER_OTLP_TRACES_HEADERS"},
		{"a file that is not there", []string{endpoint, "OTEL_EXPORTER_OTLP_CERTIFICATE=/nowhere"}, true, "OTEL_EXPORTER_OTLP_CERTIFICATE|/nowhere"},
		{"a file that is no certificate", []string{endpoint, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE=environment.go"}, true, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE|PEM"},
		{"a client's certificate without its key", []string{endpoint, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=environment.go"}, true, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE|OTEL_EXPORTER_OTLP_CLIENT_KEY|together"},
		{"a client's certificate that is none", []string{endpoint, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=environment.go", "OTEL_EXPORTER_OTLP_CLIENT_KEY=environment.go"}, true, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"},
		{"maybe switched off", []string{endpoint, "OTEL_SDK_DISABLED=yes"}, true, "OTEL_SDK_DISABLED|true or false"},
		{"maybe insecure", []string{endpoint, "OTEL_EXPORTER_OTLP_INSECURE=1"}, true, "OTEL_EXPORTER_OTLP_INSECURE|true or false"},
		{"compression", []string{endpoint, "OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION=none"}, true, ""},
		{"another compression", []string{endpoint, "OTEL_EXPORTER_OTLP_COMPRESSION=zstd"}, true, "OTEL_EXPORTER_OTLP_COMPRESSION|gzip or none"},
		{"numbers", []string{endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT=0", "OTEL_BSP_MAX_QUEUE_SIZE=100000", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=100000", "OTEL_BSP_SCHEDULE_DELAY=1", "OTEL_SPAN_EVENT_COUNT_LIMIT=-1"}, true, ""},
		{"a timeout with a unit", []string{endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT=10s"}, true, "OTEL_EXPORTER_OTLP_TIMEOUT|milliseconds"},
		{"a timeout that is none", []string{endpoint, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=abc"}, true, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"},
		{"a delay with a unit", []string{endpoint, "OTEL_BSP_SCHEDULE_DELAY=5s"}, true, "OTEL_BSP_SCHEDULE_DELAY|milliseconds"},
		{"no delay", []string{endpoint, "OTEL_BSP_SCHEDULE_DELAY=0"}, true, "OTEL_BSP_SCHEDULE_DELAY"},
		{"a time for an export that is none", []string{endpoint, "OTEL_BSP_EXPORT_TIMEOUT=abc"}, true, "OTEL_BSP_EXPORT_TIMEOUT"},
		{"a queue below zero", []string{endpoint, "OTEL_BSP_MAX_QUEUE_SIZE=-5"}, true, "OTEL_BSP_MAX_QUEUE_SIZE|1 to"},
		{"a queue of more than there is memory", []string{endpoint, "OTEL_BSP_MAX_QUEUE_SIZE=9000000000000"}, true, "OTEL_BSP_MAX_QUEUE_SIZE|1 to"},
		{"a batch larger than the queue", []string{endpoint, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=4096"}, true, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE|OTEL_BSP_MAX_QUEUE_SIZE|2048"},
		{"a limit that is none", []string{endpoint, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=x"}, true, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"},
		{"attributes without a value", []string{endpoint, "OTEL_RESOURCE_ATTRIBUTES=a=b,canary"}, true, "OTEL_RESOURCE_ATTRIBUTES"},
	} {
		t.Run(c.name, func(t *testing.T) {
			environment(t, c.env...)
			on, err := Configured()
			if on != c.on || (err != nil) != (c.errors != "") {
				t.Fatalf("%v, %v", on, err)
			}
			if err == nil {
				return
			}
			for word := range strings.SplitSeq(c.errors, "|") {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q does not say %s", err, word)
				}
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error quotes what may be a credential: %s", err)
			}
		})
	}
}
