package streams

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// OrderedAckWait is for how long an event of an ordered endpoint stays with a
// replica that says nothing.
const OrderedAckWait = 10 * time.Second

// mostFilters is up to how many filters the server is asked to look through for
// each event.
const mostFilters = 32

// What an ordered endpoint's consumer says of itself beside its configuration.
const (
	metaPatterns = "jethook_events" // separated by spaces
	metaFrom     = "jethook_from"
	metaUntil    = "jethook_until"
	metaHad      = "jethook_had" // a sequence, and then patterns
)

// Ordered returns the consumer that hands out an endpoint's events, those whose
// type matches one of its patterns, one at a time, from a sequence on. It may
// hand out others too: [OrderedWants] tells.
func Ordered(n Names, tenant, endpoint string, patterns []string, from uint64) Consumer {
	durable := OrderedOf(tenant, endpoint)
	c := jetstream.ConsumerConfig{
		Name: durable, Durable: durable,
		Description:   "jethook: hands the ordered endpoint " + tenant + "/" + endpoint + " one event at a time",
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: OrderedAckWait, MaxDeliver: -1,
		MaxAckPending: 1, // this is what keeps the order, whatever the replicas do
		Metadata:      map[string]string{metaPatterns: strings.Join(patterns, " "), metaFrom: strconv.FormatUint(max(from, 1), 10)},
	}
	for _, pattern := range orderedFilters(patterns) {
		c.FilterSubjects = append(c.FilterSubjects, n.events+tenant+"."+pattern)
	}
	return Consumer{Stream: n.Events(), Config: c}
}

// orderedFilters returns patterns that match all that the given ones do, in a
// form in which the server counts each event once.
func orderedFilters(patterns []string) []string {
	broad := broadest(patterns)
	crossing := len(broad) > mostFilters
	for i, a := range broad {
		crossing = crossing || slices.ContainsFunc(broad[i+1:], func(b string) bool { return Crossing(a, b) })
	}
	if crossing {
		return []string{">"}
	}
	return broad
}

// ReviseOrdered returns the configuration that makes an ordered endpoint's
// consumer what it should be, and whether that changes anything. Where it began
// stays.
func ReviseOrdered(have jetstream.ConsumerConfig, want Consumer) (jetstream.ConsumerConfig, bool) {
	next := have
	next.FilterSubject, next.FilterSubjects = "", want.Config.FilterSubjects
	next.AckWait, next.MaxDeliver, next.MaxAckPending = want.Config.AckWait, want.Config.MaxDeliver, want.Config.MaxAckPending
	next.Metadata = withMeta(have, metaPatterns, want.Config.Metadata[metaPatterns])
	changed := !slices.Equal(filters(have), filters(next)) || have.Metadata[metaPatterns] != next.Metadata[metaPatterns] ||
		have.AckWait != next.AckWait || have.MaxDeliver != next.MaxDeliver || have.MaxAckPending != next.MaxAckPending
	return next, changed
}

// EndOrdered returns the configuration of a consumer whose endpoint gets no
// events in order behind a sequence.
func EndOrdered(have jetstream.ConsumerConfig, until uint64) jetstream.ConsumerConfig {
	have.Metadata = withMeta(have, metaUntil, strconv.FormatUint(until, 10))
	return have
}

// OrderedEnd returns the last sequence that an ordered endpoint's consumer is
// for, and whether there is one.
func OrderedEnd(c jetstream.ConsumerConfig) (until uint64, ends bool) {
	until, err := strconv.ParseUint(c.Metadata[metaUntil], 10, 64)
	return until, err == nil
}

// OrderedFrom returns the first sequence that an ordered endpoint's consumer is
// for. One that was made again may begin behind it.
func OrderedFrom(c jetstream.ConsumerConfig) uint64 {
	from, err := strconv.ParseUint(c.Metadata[metaFrom], 10, 64)
	if err != nil {
		return c.OptStartSeq
	}
	return from
}

// OrderedWants reports whether an event's type matches what the consumer was
// made for.
func OrderedWants(c jetstream.ConsumerConfig, eventType string) bool {
	return wantsAny(strings.Fields(c.Metadata[metaPatterns]), eventType)
}

// AfterOrdered returns the configuration of a consumer that comes after another
// of its endpoint, which has had its events up to a sequence: this one does not
// hand them out once more.
func AfterOrdered(have, before jetstream.ConsumerConfig, had uint64) jetstream.ConsumerConfig {
	have.Metadata = withMeta(have, metaHad, strconv.FormatUint(had, 10)+" "+before.Metadata[metaPatterns])
	return have
}

// OrderedHad reports whether the consumer before had an event.
func OrderedHad(c jetstream.ConsumerConfig, seq uint64, eventType string) bool {
	had := strings.Fields(c.Metadata[metaHad])
	if len(had) == 0 {
		return false
	}
	until, err := strconv.ParseUint(had[0], 10, 64)
	return err == nil && seq <= until && wantsAny(had[1:], eventType)
}

func wantsAny(patterns []string, eventType string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return Wants(pattern, eventType) })
}

// ParseOrdered reads whose events a consumer reads, and whether it is that of an
// ordered endpoint.
func ParseOrdered(durable string) (tenant, endpoint string, ok bool) {
	rest, ok := strings.CutPrefix(durable, "ordered~")
	tenant, rest, cut := strings.Cut(rest, "~")
	endpoint, since, dated := strings.Cut(rest, "~")
	return tenant, endpoint, ok && cut && CheckName(tenant) == nil && CheckName(endpoint) == nil && (!dated || isSince(since))
}

// isSince reports whether a consumer's name may end with this: a sequence, and
// what tells patterns apart.
func isSince(s string) bool {
	seq, patterns, cut := strings.Cut(s, "-")
	_, err := strconv.ParseUint(seq, 10, 64)
	return err == nil && cut && len(patterns) == 2*sinceHash
}

func withMeta(c jetstream.ConsumerConfig, key, value string) map[string]string {
	meta := map[string]string{key: value}
	for k, v := range c.Metadata {
		// What begins with _nats is the server's to say.
		if k != key && !strings.HasPrefix(k, "_nats") {
			meta[k] = v
		}
	}
	return meta
}

// Matches reports whether an event's type matches an endpoint's pattern.
func Matches(pattern, eventType string) bool { return covers(pattern, eventType) }
