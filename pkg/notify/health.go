package notify

import (
	"strconv"
	"time"

	"jethook/streams"
)

// digest is what becomes of changes that come too often: they are counted.
type digest struct {
	// Said is when something was last said of the endpoint's health.
	Said time.Time `json:"said"`
	// Changes is how many there were since.
	Changes int `json:"changes"`
}

// health says that an endpoint fails when it has done so for a while, and that it
// is well when it has been that for a while. After mostChanges of that within the
// hour it counts, and says once an hour how many there were and how it is; an hour
// without any ends that. So what was said last is true in the end, and of whoever
// was said to fail it is said that they recovered.
//
// A disabled endpoint is neither: nothing is tried with it.
func (r *Record) health(s Settings, f Facts) (words []Word, look time.Time) {
	if f.Disabled != nil {
		return nil, time.Time{}
	}
	changed, outage, look := r.turn(s, f)
	switch {
	case changed && r.Digest == nil:
		words = []Word{r.healthWord(f, outage)}
		if r.Changes = append(r.Changes, f.Now.UTC()); len(r.Changes) >= mostChanges {
			r.Changes, r.Digest = nil, &digest{Said: f.Now.UTC()}
		}
	case changed:
		r.Digest = &digest{r.Digest.Said, r.Digest.Changes + 1}
	}
	if r.Digest == nil {
		return words, look
	}
	if end := r.Digest.Said.Add(s.hour()); f.Now.Before(end) {
		return words, earliest(look, end)
	}
	if r.Digest.Changes == 0 { // what was said last is how it is
		r.Digest = nil
		return words, look
	}
	w := r.healthWord(f, outage)
	w.Flapping = &Flapping{r.Digest.Changes, r.Digest.Said}
	w.identity = "flapping " + at(r.Digest.Said) + " " + strconv.Itoa(r.Digest.Changes)
	r.Digest = &digest{Said: f.Now.UTC()}
	return append(words, w), earliest(look, f.Now.Add(s.hour()))
}

// turn makes Down what it is by now, and reports whether that is a change. outage
// is the one that began or ended, and look when it may change next.
func (r *Record) turn(s Settings, f Facts) (changed bool, outage *Outage, look time.Time) {
	switch {
	case f.Outage != nil && r.Down == nil:
		if due := f.Outage.Since.Add(s.After); f.Now.Before(due) {
			return false, nil, due
		}
		r.Down = f.Outage
		return true, r.Down, time.Time{}
	case f.Outage == nil && r.Down != nil:
		if due := f.WellSince.Add(s.After); f.Now.Before(due) {
			return false, r.Down, due
		}
		outage, r.Down = r.Down, nil
		return true, outage, time.Time{}
	}
	return false, r.Down, time.Time{}
}

// healthWord says how the endpoint is now. An outage that began is told as it is
// now; of one that ended, when that was.
func (r *Record) healthWord(f Facts, outage *Outage) Word {
	w := Word{Type: streams.EndpointRecovered, Endpoint: f.Name, URL: f.URL, At: f.Now.UTC()}
	if r.Down != nil {
		w.Type = streams.EndpointFailing
	}
	if outage == nil {
		return w
	}
	w.Why, w.Since, w.identity = outage.Why, outage.Since.UTC(), at(outage.Since)
	if r.Down == nil {
		w.Until = f.WellSince.UTC()
		return w
	}
	if f.Outage != nil {
		outage = f.Outage
	}
	w.Probes, w.LastStatus, w.LastError = outage.Probes, outage.LastStatus, outage.LastError
	return w
}
