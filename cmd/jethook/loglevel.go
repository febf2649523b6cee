package main

import (
	"io"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// logLevel is how detailed a log is. It belongs to one logger and all that are made
// of it, unlike zerolog's own, which belongs to the process or to a copy. A line
// below it is dropped before anything of it is put together: that is its part as a
// sampler. Where another sampler took its place, levelWriter drops the line.
type logLevel struct {
	now     atomic.Int32
	changes zerolog.Logger // says what it is now, whatever that is
}

func (l *logLevel) set(level zerolog.Level) { l.now.Store(int32(level)) }

// Sample reports whether a line of a level belongs into the log.
func (l *logLevel) Sample(level zerolog.Level) bool { return int32(level) >= l.now.Load() }

// step makes the log more detailed by a negative number of steps, or less detailed by
// a positive one, from trace to error.
func (l *logLevel) step(by zerolog.Level) {
	next := min(max(zerolog.Level(l.now.Load())+by, zerolog.TraceLevel), zerolog.ErrorLevel)
	l.set(next)
	l.changes.Warn().Str("log_level", next.String()).Msg("the log's level was set by a signal")
}

type levelWriter struct {
	io.Writer
	level *logLevel
}

// WriteLevel writes a line if its level belongs into the log.
func (w levelWriter) WriteLevel(level zerolog.Level, p []byte) (int, error) {
	if !w.level.Sample(level) {
		return len(p), nil
	}
	return w.Write(p)
}
