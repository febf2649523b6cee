package notify

import (
	"time"

	"jethook/streams"
)

// oldNews is from when on nothing is told of a disabling any more, nor to contacts of
// what was said: somebody has seen it, it is otherwise by now, or a version of jethook
// that says nothing did it long ago.
const oldNews = time.Hour

// disabled says that jethook disabled the endpoint, once for each time.
func (r *Record) disabled(f Facts) []Word {
	d := f.Disabled
	if d == nil || d.At.Equal(r.Disabled) || f.Now.Sub(d.At) > oldNews {
		return nil
	}
	r.Disabled = d.At.UTC()
	return []Word{{Type: streams.EndpointDisabled, Endpoint: f.Name, URL: f.URL, At: f.Now.UTC(),
		Since: d.At.UTC(), Why: d.Why, identity: at(d.At)}}
}
