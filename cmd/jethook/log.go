package main

import (
	"io"
	"time"

	"github.com/rs/zerolog"

	"jethook/config"
)

// newLogger returns the logger of a long-running command: JSON lines, or what
// people read. Its level, and that of all that is made of it, can be changed.
func newLogger(c config.Config, out io.Writer, terminal bool) (zerolog.Logger, *logLevel) {
	console := c.LogFormat == "console" || c.LogFormat == "" && terminal
	if console {
		out = zerolog.ConsoleWriter{Out: out, TimeFormat: time.TimeOnly, NoColor: !terminal}
	}
	level := &logLevel{changes: zerolog.New(out).With().Timestamp().Logger()}
	level.set(c.LogLevel)
	return zerolog.New(levelWriter{out, level}).Sample(level).With().Timestamp().Logger(), level
}
