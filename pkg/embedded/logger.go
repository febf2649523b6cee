package embedded

import (
	"fmt"

	"github.com/rs/zerolog"
)

// logger passes the server's messages on. Its notices are news only to somebody
// who debugs.
type logger struct {
	zerolog.Logger
	fatal chan<- string // takes the first
}

func (l logger) Noticef(format string, v ...any) { l.Logger.Debug().Msgf("nats-server: "+format, v...) }
func (l logger) Warnf(format string, v ...any)   { l.Logger.Warn().Msgf("nats-server: "+format, v...) }
func (l logger) Errorf(format string, v ...any)  { l.Logger.Error().Msgf("nats-server: "+format, v...) }
func (l logger) Debugf(format string, v ...any)  { l.Logger.Trace().Msgf("nats-server: "+format, v...) }
func (l logger) Tracef(format string, v ...any)  { l.Logger.Trace().Msgf("nats-server: "+format, v...) }

// Fatalf passes on why the server cannot start: a library does not end the
// process.
func (l logger) Fatalf(format string, v ...any) {
	why := fmt.Sprintf(format, v...)
	select {
	case l.fatal <- why:
	default:
		l.Logger.Error().Msg("nats-server: " + why)
	}
}
