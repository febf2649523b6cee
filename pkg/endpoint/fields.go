package endpoint

import (
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"jethook/pkg/retry"
)

// endpointFields and those below are the fields in the order of the manual.
var (
	endpointFields = []string{
		"tenant", "id", "url", "events", "description", "contact", "secrets", "signing", "extra_signatures", "auth", "tls", "max_body", "timeout", "retry", "retry_on",
		"expire_after", "disable_after", "rate_limit", "max_in_flight", "headers", "lane", "ordered", "on_failure",
		"paused", "paused_at", "disabled", "available_since", "made_at", "ordered_from", "events_from",
	}
	retryFields     = []string{"base", "factor", "max_delay", "max_attempts", "jitter", "schedule"}
	rateLimitFields = []string{"per_second", "burst"}
	laneFields      = []string{"id", "filters", "weight"}
)

// readEndpoint fills a document's defaults with what the node says, and reports
// what is wrong with it. A field without a value is a field that is absent, in
// YAML as in JSON.
func (s *section) readEndpoint(node ast.Node, lines map[string]int) Document {
	if !s.isMapping(node, "an endpoint") {
		return Document{}
	}
	w := newWire()
	w.Retry = nil
	s.fields(node, "", endpointFields, func(name string, value ast.Node) { s.readField(&w, name, value) })
	d := w.document()
	_, said := s.at["paused"]
	d.KeepPaused = !said
	s.found(d.check(s.rules))
	s.found(d.checkKind())
	if isName(d.Tenant) && isName(d.ID) {
		s.once("endpoint "+d.Name(), lines)
	}
	return d
}

// readLane does the same for a lane.
func (s *section) readLane(node ast.Node, lines map[string]int) Lane {
	if !s.isMapping(node, "a lane") {
		return Lane{}
	}
	l := NewLane()
	s.fields(node, "", laneFields, func(name string, value ast.Node) {
		switch name {
		case "id":
			scalar(s, name, value, &l.ID, text)
		case "filters":
			list(s, name, value, &l.Filters, text)
		case "weight":
			scalar(s, name, value, &l.Weight, integer)
		}
	})
	s.found(l.check())
	if isName(l.ID) {
		s.once("lane "+l.ID, lines)
	}
	return l
}

func (s *section) readField(w *wire, name string, value ast.Node) {
	switch name {
	case "tenant":
		scalar(s, name, value, &w.Tenant, text)
	case "id":
		scalar(s, name, value, &w.ID, text)
	case "url":
		scalar(s, name, value, &w.URL, text)
	case "events":
		list(s, name, value, &w.Events, text)
	case "description":
		scalar(s, name, value, &w.Description, text)
	case "contact":
		s.readContact(w, value)
	case "secrets":
		s.readSecrets(w, value)
	case "signing":
		scalar(s, name, value, (*string)(&w.Signing), text)
	case "extra_signatures":
		s.readExtraSignatures(w, value)
	case "auth":
		s.readAuth(w, value)
	case "tls":
		s.readTLS(w, value)
	case "max_body":
		scalar(s, name, value, &w.MaxBody, integer)
	case "timeout":
		scalar(s, name, value, &w.Timeout, duration)
	case "retry":
		s.readRetry(w, value)
	case "retry_on":
		list(s, name, value, &w.RetryOn, integer)
	case "expire_after":
		scalar(s, name, value, &w.ExpireAfter, duration)
	case "disable_after":
		scalar(s, name, value, &w.DisableAfter, duration)
	case "rate_limit":
		s.readRateLimit(w, value)
	case "max_in_flight":
		scalar(s, name, value, &w.MaxInFlight, integer)
	case "headers":
		s.readHeaders(w, value)
	case "lane":
		scalar(s, name, value, &w.Lane, text)
	case "ordered":
		scalar(s, name, value, &w.Ordered, boolean)
	case "on_failure":
		scalar(s, name, value, (*string)(&w.OnFailure), text)
	case "paused":
		scalar(s, name, value, &w.Paused, boolean)
	case "disabled":
		s.refuse(name, "is set by jethook itself: leave it out, and use `jethook endpoint enable` to enable the endpoint again")
	case "ordered_from", "events_from", "paused_at", "available_since", "made_at":
		s.refuse(name, "is set by jethook itself: leave it out")
	}
}

func (s *section) readRetry(w *wire, node ast.Node) {
	w.Retry = &wireRetry{}
	s.fields(node, "retry", retryFields, func(name string, value ast.Node) {
		field := "retry." + name
		switch name {
		case "base":
			w.Retry.Base = new(Duration)
			scalar(s, field, value, w.Retry.Base, duration)
		case "factor":
			w.Retry.Factor = new(float64)
			scalar(s, field, value, w.Retry.Factor, number)
		case "max_delay":
			w.Retry.MaxDelay = new(Duration)
			scalar(s, field, value, w.Retry.MaxDelay, duration)
		case "max_attempts":
			w.Retry.MaxAttempts = new(int)
			scalar(s, field, value, w.Retry.MaxAttempts, integer)
		case "jitter":
			scalar(s, field, value, (*string)(&w.Retry.Jitter), text)
		case "schedule":
			list(s, field, value, &w.Retry.Schedule, duration)
		}
	})
	// A policy is judged as a whole: with one field missing, what is said
	// about the others could be wrong.
	if s.unreadable("retry") {
		w.Retry = toWireRetry(retry.Default())
	}
}

func (s *section) readRateLimit(w *wire, node ast.Node) {
	w.RateLimit = &RateLimit{}
	s.fields(node, "rate_limit", rateLimitFields, func(name string, value ast.Node) {
		switch name {
		case "per_second":
			scalar(s, "rate_limit.per_second", value, &w.RateLimit.PerSecond, number)
		case "burst":
			scalar(s, "rate_limit.burst", value, &w.RateLimit.Burst, integer)
		}
	})
}

func (s *section) readHeaders(w *wire, node ast.Node) {
	w.Headers = make(map[string]string)
	s.eachKey(node, s.path+".headers", func(name string, at *token.Position, value ast.Node) {
		s.at[headerField(name)] = at
		var header string
		scalar(s, headerField(name), value, &header, s.resolved)
		w.Headers[name] = header
	})
}
