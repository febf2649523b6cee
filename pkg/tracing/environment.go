package tracing

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	sdk "go.opentelemetry.io/otel/sdk/trace"
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
		checkPairs("OTEL_EXPORTER_OTLP_TRACES_HEADERS"), checkPairs("OTEL_RESOURCE_ATTRIBUTES"), checkFiles(), checkWords(), checkNumbers())
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
// there, and are what they should be.
func checkFiles() error {
	var errs []error
	for _, kind := range []string{"OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"} {
		authorities, cert, key := kind+"CERTIFICATE", kind+"CLIENT_CERTIFICATE", kind+"CLIENT_KEY"
		contents := map[string][]byte{}
		for _, variable := range []string{authorities, cert, key} {
			path := os.Getenv(variable)
			if path == "" {
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", variable, err))
				continue
			}
			contents[variable] = text
		}
		if text, there := contents[authorities]; there && !x509.NewCertPool().AppendCertsFromPEM(text) {
			errs = append(errs, fmt.Errorf("%s: there is no certificate in PEM in %s", authorities, os.Getenv(authorities)))
		}
		if (os.Getenv(cert) == "") != (os.Getenv(key) == "") {
			errs = append(errs, fmt.Errorf("%s and %s go together: set both", cert, key))
		} else if contents[cert] != nil && contents[key] != nil {
			if _, err := tls.X509KeyPair(contents[cert], contents[key]); err != nil {
				errs = append(errs, fmt.Errorf("%s and %s: %w", cert, key, err))
			}
		}
	}
	return errors.Join(errs...)
}

// checkWords checks what must be one of a few words.
func checkWords() error {
	var errs []error
	for words, variables := range map[string][]string{
		"true or false": {"OTEL_SDK_DISABLED", "OTEL_EXPORTER_OTLP_INSECURE", "OTEL_EXPORTER_OTLP_TRACES_INSECURE"},
		"gzip or none":  {"OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"},
	} {
		for _, variable := range variables {
			value := os.Getenv(variable)
			if words == "true or false" {
				value = strings.ToLower(value)
			}
			if value != "" && !slices.Contains(strings.Split(words, " or "), value) {
				errs = append(errs, fmt.Errorf("%s: must be %s", variable, words))
			}
		}
	}
	return errors.Join(errs...)
}

// The bounds of a queue of spans: the SDK makes room for all of them at once.
const (
	mostQueued = 10_000_000
	milli      = "a number of milliseconds, without a unit"
)

// checkNumbers checks what must be a whole number.
func checkNumbers() error {
	queue := sdk.DefaultMaxQueueSize
	if n, err := strconv.Atoi(os.Getenv("OTEL_BSP_MAX_QUEUE_SIZE")); err == nil {
		queue = n
	}
	var errs []error
	check := func(least, most int, what string, variables ...string) {
		for _, variable := range variables {
			value := os.Getenv(variable)
			if n, err := strconv.Atoi(value); value != "" && (err != nil || n < least || n > most) {
				errs = append(errs, fmt.Errorf("%s: must be %s", variable, what))
			}
		}
	}
	check(0, math.MaxInt32, milli+"; 0 is no bound", "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_BSP_EXPORT_TIMEOUT")
	check(1, math.MaxInt32, milli+", at least 1", "OTEL_BSP_SCHEDULE_DELAY")
	check(1, mostQueued, fmt.Sprintf("from 1 to %d", mostQueued), "OTEL_BSP_MAX_QUEUE_SIZE")
	check(1, queue, fmt.Sprintf("from 1 to OTEL_BSP_MAX_QUEUE_SIZE, which is %d", queue), "OTEL_BSP_MAX_EXPORT_BATCH_SIZE")
	check(math.MinInt32, math.MaxInt32, "a whole number; below 0 is no limit", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT",
		"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT",
		"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT")
	return errors.Join(errs...)
}
