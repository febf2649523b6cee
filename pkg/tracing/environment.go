package tracing

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Configured reports whether the environment asks for traces: by naming where to
// send them, in OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT,
// or by OTEL_TRACES_EXPORTER=otlp, and not by OTEL_SDK_DISABLED=true. The SDK would
// go on with something else in the place of a value that is of no use; here that is
// an error, which names the variable and never quotes what may be a credential.
func Configured() (bool, error) {
	exporter := os.Getenv("OTEL_TRACES_EXPORTER")
	endpoint := endpointVariable()
	switch {
	case strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true"), exporter == "none", exporter == "" && endpoint == "":
		return false, nil
	case exporter != "" && exporter != "otlp":
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER=%q: must be otlp or none", exporter)
	}
	return true, errors.Join(checkEndpoint(endpoint), checkProtocol(), checkSampler(), checkPairs("OTEL_EXPORTER_OTLP_HEADERS"),
		checkPairs("OTEL_EXPORTER_OTLP_TRACES_HEADERS"), checkPairs("OTEL_RESOURCE_ATTRIBUTES"), checkFiles())
}

// endpointVariable returns the name of the variable that says where to send
// traces, "" if none does.
func endpointVariable() string {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if os.Getenv(name) != "" {
			return name
		}
	}
	return ""
}

func checkEndpoint(variable string) error {
	if variable == "" {
		return nil // the SDK's own default, this machine
	}
	u, err := url.Parse(os.Getenv(variable))
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%s: must be a URL such as http://127.0.0.1:4318, without a user", variable)
	}
	return nil
}

func checkProtocol() error {
	const general, traces = "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	if p := cmp.Or(os.Getenv(traces), os.Getenv(general), "http/protobuf"); p != "http/protobuf" {
		return fmt.Errorf("%s or %s is %q: jethook sends traces as http/protobuf only, which collectors take at port 4318", traces, general, p)
	}
	return nil
}

func checkSampler() error {
	name, arg := strings.ToLower(os.Getenv("OTEL_TRACES_SAMPLER")), os.Getenv("OTEL_TRACES_SAMPLER_ARG")
	known := []string{"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}
	if name != "" && !slices.Contains(known, name) {
		return fmt.Errorf("OTEL_TRACES_SAMPLER=%q: must be one of %s", name, strings.Join(known, ", "))
	}
	if arg == "" || !strings.HasSuffix(name, "traceidratio") {
		return nil
	}
	if ratio, err := strconv.ParseFloat(arg, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
		return fmt.Errorf("OTEL_TRACES_SAMPLER_ARG=%q: must be 0 to 1", arg)
	}
	return nil
}

// checkPairs checks what is a list of names and values.
func checkPairs(variable string) error {
	if os.Getenv(variable) == "" {
		return nil
	}
	for pair := range strings.SplitSeq(os.Getenv(variable), ",") {
		name, value, found := strings.Cut(pair, "=")
		_, err := url.PathUnescape(value)
		if !found || err != nil || strings.TrimSpace(name) == "" {
			return fmt.Errorf("%s: must be name=value, separated by commas, values percent-encoded", variable)
		}
	}
	return nil
}

// checkFiles looks whether the files of a TLS connection to the collector are
// there.
func checkFiles() error {
	var errs []error
	for _, kind := range []string{"", "TRACES_"} {
		for _, file := range []string{"CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"} {
			variable := "OTEL_EXPORTER_OTLP_" + kind + file
			if path := os.Getenv(variable); path != "" {
				if _, err := os.ReadFile(path); err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", variable, err))
				}
			}
		}
	}
	return errors.Join(errs...)
}
