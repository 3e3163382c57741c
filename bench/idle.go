package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"
)

// IdleOptions describe the wait for a server to put its members away.
type IdleOptions struct {
	Wait time.Duration // for passivation, at most; 90 s if 0
	Span time.Duration // over which idle CPU is taken; 5 s if 0
	Kill bool          // end the server with SIGKILL before it is opened again
}

// IdleResult is what a loaded server costs when nobody calls, and how soon it
// answers again.
type IdleResult struct {
	Scenario      string  `json:"scenario"`
	Members       int     `json:"members"`
	Records       int64   `json:"records"`
	LoadedMiB     float64 `json:"loaded_mib"`
	IdleMiB       float64 `json:"idle_mib"`
	Passivated    string  `json:"passivated"` // "reported", or "waited" if the server does not tell
	IdleCPU       float64 `json:"idle_cpu_percent"`
	Killed        bool    `json:"killed"`
	ReadyMs       float64 `json:"ready_ms"`        // start of the program to its world file
	FirstAnswerMs float64 `json:"first_answer_ms"` // start of the program to a member's rows
	ReopenedMiB   float64 `json:"reopened_mib"`
	ComparedRows  int64   `json:"compared_rows"` // after reopening
	Lost          int64   `json:"lost"`
	Unauthorised  int64   `json:"unauthorised"`
	Context       Context `json:"context"`
}

// Idle loads a server, waits until its members are passivated, then stops or
// kills it, opens it again, and reads members back.
func Idle(ctx context.Context, l Launch, o IngestOptions, id IdleOptions, out, js io.Writer) error {
	if id.Wait == 0 {
		id.Wait = 90 * time.Second
	}
	if id.Span == 0 {
		id.Span = 5 * time.Second
	}
	if o.Compare == 0 {
		o.Compare = 1000
	}
	var res IdleResult
	err := loaded(ctx, &l, &o, func(s *server, n *nursery, r *Result, led *ledger) (*server, error) {
		res = IdleResult{Scenario: "idle", Members: len(s.Accounts), Records: r.Records, LoadedMiB: r.ResidentMiB, Killed: id.Kill,
			Context: newContext(s.dir, o.String())}
		var err error
		if res.Passivated, err = s.passivate(ctx, id.Wait); err != nil {
			return nil, err
		}
		res.IdleMiB = s.resident()
		if res.IdleCPU, err = s.idleCPU(ctx, id.Span); err != nil {
			return nil, err
		}
		if id.Kill {
			s.kill()
		} else if err := s.stop(); err != nil {
			return nil, err
		}
		begin := time.Now()
		again, err := n.launch.start(ctx, s.dir, true)
		if err != nil {
			return nil, err
		}
		res.ReadyMs = millis(again.ready)
		se, err := login(ctx, again.World, again.Sub)
		if err != nil {
			return again, err
		}
		members, seen := led.members(), led.found.rows.Load()
		if err := led.readAll(ctx, se, members[:1], 1, nil); err != nil {
			return again, err
		}
		res.FirstAnswerMs = millis(time.Since(begin))
		if err := led.readAll(ctx, se, members[1:], o.InFlight, nil); err != nil {
			return again, err
		}
		res.ReopenedMiB = again.resident()
		res.ComparedRows, res.Lost, res.Unauthorised = led.found.rows.Load()-seen, led.found.lost.Load(), led.found.unauthorised.Load()
		return again, nil
	})
	if err != nil {
		return err
	}
	res.Context.print(out)
	end := "stopped"
	if res.Killed {
		end = "killed"
	}
	fmt.Fprintf(out, "idle       %d members, %d records: %.0f MiB loaded, %.0f MiB idle (passivation %s), %.2f %% of a core\n",
		res.Members, res.Records, res.LoadedMiB, res.IdleMiB, res.Passivated, res.IdleCPU)
	fmt.Fprintf(out, "reopening  %s; ready after %.0f ms, first answer after %.0f ms, %.0f MiB; %d rows compared, lost %d, unauthorised %d\n",
		end, res.ReadyMs, res.FirstAnswerMs, res.ReopenedMiB, res.ComparedRows, res.Lost, res.Unauthorised)
	if js != nil {
		if err := writeJSON(js, res); err != nil {
			return err
		}
	}
	if res.Lost+res.Unauthorised > 0 {
		return ErrCheck
	}
	return nil
}

// passivate waits until the operator's status reports no active member. A server
// that does not report them is given the whole time.
func (s *server) passivate(ctx context.Context, wait time.Duration) (string, error) {
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	how := "waited"
	for limit := time.Now().Add(wait); time.Now().Before(limit); {
		body, ok, err := s.operate(ctx, http.MethodGet, "/operator/v1/status")
		if err != nil {
			return "", err
		}
		var st struct {
			Active *int `json:"active_members"`
		}
		if ok && json.Unmarshal(body, &st) == nil && st.Active != nil {
			how = "not complete in time"
			if *st.Active == 0 {
				return "reported", nil
			}
		}
		select {
		case <-t.C:
		case <-s.exited:
			return "", fmt.Errorf("server ended: %v (its log: %s)", s.err, filepath.Join(s.dir, "server.log"))
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return how, nil
}

// idleCPU is the share of one core, in percent, used over d.
func (s *server) idleCPU(ctx context.Context, d time.Duration) (float64, error) {
	from := s.cpu()
	if err := pause(ctx, d); err != nil {
		return 0, err
	}
	return (s.cpu() - from) / d.Seconds() * 100, nil
}
