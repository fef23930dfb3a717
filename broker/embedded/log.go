package embedded

import (
	"fmt"
	"log/slog"
	"sync/atomic"
)

// logger passes the server's log on: its notices are of interest to who
// debugs, its warnings and errors to who operates.
type logger struct {
	log *slog.Logger
	// started tells who hears of what keeps the server from going on: the caller
	// of Open before, the operator after.
	started atomic.Bool
	fatal   atomic.Pointer[error]
	suspect func() // is told that there was an error
}

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }

// Errorf passes an error on, and makes the server suspect: what it cannot write
// it reports here before anybody misses it.
func (l *logger) Errorf(format string, v ...any) {
	l.log.Error(fmt.Sprintf(format, v...))
	l.suspect()
}

// Fatalf keeps what happened before the server was started, because the server
// itself returns no error from its start.
func (l *logger) Fatalf(format string, v ...any) {
	err := fmt.Errorf(format, v...)
	if l.started.Load() || !l.fatal.CompareAndSwap(nil, &err) {
		l.log.Error(err.Error())
	}
}
