// Package audit promises to find every delivery: where one event stands at each of
// its endpoints, and whether in a span of time every delivery of every event is
// delivered, waiting, held, dead or discarded. It only reads, beside whatever runs.
package audit
