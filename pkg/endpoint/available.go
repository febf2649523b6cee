package endpoint

import "time"

// available reports whether the document lets attempts be made.
func (d Document) available() bool { return !d.Paused && d.Disabled == nil }

// date writes down when the endpoint was paused and since when it is available
// again, by what was stored before. What the document itself says of that does not
// count: these are facts, and nobody's wish.
func (d *Document) date(before Document, now time.Time) {
	now = now.UTC()
	d.PausedAt, d.AvailableSince = before.PausedAt, before.AvailableSince
	switch {
	case !d.Paused:
		d.PausedAt = time.Time{}
	case !before.Paused:
		d.PausedAt = now
	}
	if d.available() && !before.available() {
		d.AvailableSince = now
	}
}
