package streams

import "strings"

// Own is the first token of the types of jethook's own events about a tenant's
// endpoints. Who wants them says so: no wildcard stands for it. So an endpoint
// with the pattern > gets what its tenant publishes and nothing else.
const Own = "jethook"

// The types of jethook's own events.
const (
	EndpointFailing   = Own + ".endpoint.failing"
	EndpointRecovered = Own + ".endpoint.recovered"
	EndpointDisabled  = Own + ".endpoint.disabled"
	DeliveryDead      = Own + ".delivery.dead"
	SecretRotated     = Own + ".endpoint.secret_rotated"
)

// IsOwn reports whether an event's type is one of jethook's own.
func IsOwn(eventType string) bool {
	return eventType == Own || strings.HasPrefix(eventType, Own+".")
}

// Wants reports whether an endpoint's pattern asks for events of a type. It does
// when it matches, and for jethook's own events only when it begins with Own.
func Wants(pattern, eventType string) bool {
	return (IsOwn(pattern) || !IsOwn(eventType)) && Matches(pattern, eventType)
}

// ownEvents returns the subjects of jethook's own events of a tenant, or of every
// tenant's for "*".
func (n Names) ownEvents(tenant string) []string {
	return []string{n.events + tenant + "." + Own, n.events + tenant + "." + Own + ".>"}
}
