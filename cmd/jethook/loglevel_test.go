package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"jethook/config"
)

// A level is in force at once, for loggers that were made before, those with a
// sampler of their own included, and for no other replica's.
func TestLogLevel(t *testing.T) {
	var out, elsewhere bytes.Buffer
	log, level := newLogger(config.Config{LogLevel: zerolog.InfoLevel, LogFormat: "json"}, &out, false)
	other, _ := newLogger(config.Config{LogLevel: zerolog.InfoLevel, LogFormat: "json"}, &elsewhere, false)
	bound := log.With().Str("endpoint", "acme/crm").Logger()
	sampled := bound.Sample(&zerolog.BurstSampler{Burst: 1000, Period: time.Hour})
	all := []zerolog.Level{zerolog.TraceLevel, zerolog.DebugLevel, zerolog.InfoLevel, zerolog.WarnLevel, zerolog.ErrorLevel}
	for _, c := range []struct {
		step zerolog.Level
		want zerolog.Level
	}{
		{0, zerolog.InfoLevel}, {-1, zerolog.DebugLevel}, {-1, zerolog.TraceLevel}, {-1, zerolog.TraceLevel},
		{1, zerolog.DebugLevel}, {1, zerolog.InfoLevel}, {1, zerolog.WarnLevel}, {1, zerolog.ErrorLevel}, {1, zerolog.ErrorLevel},
	} {
		out.Reset()
		level.step(c.step)
		if !strings.Contains(out.String(), `"level":"warn","log_level":"`+c.want.String()+`"`) {
			t.Errorf("after a step of %d the log says %s, want that the level is %s", c.step, &out, c.want)
		}
		for name, l := range map[string]zerolog.Logger{"the logger": log, "one made of it": bound, "one with a sampler": sampled} {
			for _, at := range all {
				out.Reset()
				if l.WithLevel(at).Msg("x"); (out.Len() > 0) != (at >= c.want) {
					t.Errorf("at level %s %s says at %s: %q", c.want, name, at, &out)
				}
			}
		}
	}
	other.Info().Msg("x")
	other.Debug().Msg("x")
	if strings.Count(elsewhere.String(), "\n") != 1 {
		t.Errorf("another logger says %s, want one line at info", &elsewhere)
	}
}

// What is not logged costs no allocation, and a look at the level.
func TestLogLevelCostsNothing(t *testing.T) {
	log, _ := newLogger(config.Config{LogLevel: zerolog.InfoLevel, LogFormat: "json"}, &bytes.Buffer{}, false)
	if n := testing.AllocsPerRun(100, func() { log.Debug().Str("a", "b").Msg("x") }); n != 0 {
		t.Errorf("%v allocations for a line that is not logged", n)
	}
}

// BenchmarkLogLevel compares a line that is dropped by a level that can be changed
// with one that zerolog's own drops.
func BenchmarkLogLevel(b *testing.B) {
	log, _ := newLogger(config.Config{LogLevel: zerolog.InfoLevel, LogFormat: "json"}, &bytes.Buffer{}, false)
	for name, l := range map[string]zerolog.Logger{"changeable": log, "fixed": zerolog.New(&bytes.Buffer{}).Level(zerolog.InfoLevel)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l.Debug().Str("a", "b").Msg("x")
			}
		})
	}
}
