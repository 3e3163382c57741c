package cluster

import (
	"fmt"
	"log/slog"
)

// raftLogger passes the consensus library's warnings on. Its Panic is how the
// library reports that a Storage failed; the loop turns it into a fault.
type raftLogger struct{ l *slog.Logger }

func (r raftLogger) Debug(...any)          {}
func (r raftLogger) Debugf(string, ...any) {}
func (r raftLogger) Info(...any)           {}
func (r raftLogger) Infof(string, ...any)  {}

func (r raftLogger) Warning(v ...any) { r.l.Warn("consensus", "msg", fmt.Sprint(v...)) }
func (r raftLogger) Warningf(f string, v ...any) {
	r.l.Warn("consensus", "msg", fmt.Sprintf(f, v...))
}
func (r raftLogger) Error(v ...any)            { r.l.Error("consensus", "msg", fmt.Sprint(v...)) }
func (r raftLogger) Errorf(f string, v ...any) { r.l.Error("consensus", "msg", fmt.Sprintf(f, v...)) }
func (r raftLogger) Fatal(v ...any)            { panic(fmt.Errorf("%s", fmt.Sprint(v...))) }
func (r raftLogger) Fatalf(f string, v ...any) { panic(fmt.Errorf(f, v...)) }
func (r raftLogger) Panic(v ...any)            { panic(fmt.Errorf("%s", fmt.Sprint(v...))) }
func (r raftLogger) Panicf(f string, v ...any) { panic(fmt.Errorf(f, v...)) }
