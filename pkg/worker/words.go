package worker

import (
	"slices"

	"jethook/pkg/delivery"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/notify"
	"jethook/streams"
)

// toOthers returns the endpoints that an event is for. One of jethook's own is not
// for the endpoint that it is about: that would hear of its own trouble by what it
// has trouble with.
func (w *Worker) toOthers(m *message, tenant, eventType string, matched []*endpoint.Endpoint) []*endpoint.Endpoint {
	if !streams.IsOwn(eventType) {
		return matched
	}
	w.words.Heard(event.New(event.Message{Tenant: tenant, Type: eventType,
		Header: m.Headers(), Body: m.Data(), Seq: m.seq, Time: m.stored}), m.Headers().Get(notify.About))
	return slices.DeleteFunc(slices.Clone(matched), func(ep *endpoint.Endpoint) bool { return isAbout(m, eventType, ep.ID) })
}

// isAbout reports whether an event is one of jethook's own about an endpoint of its
// tenant.
func isAbout(m *message, eventType, id string) bool {
	return streams.IsOwn(eventType) && m.Headers().Get(notify.About) == id
}

// silence tells nobody anything.
type silence struct{}

func (silence) Buried(*delivery.Delivery, delivery.Reason) {}

func (silence) Heard(event.Event, string) {}
