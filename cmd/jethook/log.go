package main

import (
	"io"
	"time"

	"github.com/rs/zerolog"

	"jethook/config"
)

// newLogger returns the logger of a long-running command: JSON lines, or what
// people read.
func newLogger(c config.Config, out io.Writer, terminal bool) zerolog.Logger {
	console := c.LogFormat == "console" || c.LogFormat == "" && terminal
	if console {
		out = zerolog.ConsoleWriter{Out: out, TimeFormat: time.TimeOnly, NoColor: !terminal}
	}
	return zerolog.New(out).Level(c.LogLevel).With().Timestamp().Logger()
}
