package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/argosy-go/argosy/internal/supervise"
)

// member is a process of the fleet as others see it.
type member struct {
	unit
	State    supervise.State `json:"state"`
	PID      int             `json:"pid,omitempty"`
	Restarts int             `json:"restarts"`
	Since    time.Time       `json:"since"`
	Why      string          `json:"lastEnd,omitempty"` // how the one before ended
}

// fleetState is what argosy up --status reads: a file in the data directory.
type fleetState struct {
	Program   string    `json:"program"`
	PID       int       `json:"pid"` // of argosy up
	Since     time.Time `json:"since"`
	Edge      string    `json:"edge,omitempty"` // URL of the HTTP edge
	Processes []member  `json:"processes"`
}

// stateFile returns where the state of a fleet is.
func stateFile(data string) string { return filepath.Join(data, "up.json") }

// write puts the state into its file, so that nobody ever reads half of it.
func (s fleetState) write(data string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := stateFile(data) + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, stateFile(data))
}

// readState returns the state of the fleet that runs in the data directory.
func readState(data string) (fleetState, error) {
	var s fleetState
	b, err := os.ReadFile(stateFile(data))
	if errors.Is(err, fs.ErrNotExist) {
		return s, notFoundf("no fleet of argosy up runs in %s", data)
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s: %w", stateFile(data), err)
	}
	return s, nil
}

// meter tells how much CPU processes use: between two looks, or since the start
// of a process at the first.
type meter struct {
	mu   sync.Mutex
	seen map[int]sample // by pid
}

type sample struct {
	at  time.Time
	cpu time.Duration
	per float64 // CPUs, between the two samples before
}

// read returns the CPUs and the memory that a process uses now, as text; empty
// where that is not known. since is when it started.
func (m *meter) read(pid int, since time.Time) (cpu, memory string) {
	u, err := supervise.UsageOf(pid)
	if pid == 0 || err != nil {
		return "", ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = map[int]sample{}
	}
	now := time.Now()
	s, ok := m.seen[pid]
	switch {
	case !ok:
		s = sample{now, u.CPU, u.CPU.Seconds() / max(0.01, now.Sub(since).Seconds())}
	case now.Sub(s.at) >= time.Second:
		s = sample{now, u.CPU, (u.CPU - s.cpu).Seconds() / now.Sub(s.at).Seconds()}
	}
	m.seen[pid] = s
	return fmt.Sprintf("%.0f%%", 100*s.per), fmt.Sprintf("%.0f MB", float64(u.Memory)/1e6)
}

// wide is a terminal that has room for all columns.
const wide = 110

// show prints the table of the processes: in a pipe and on a wide terminal with
// all that there is.
func (s fleetState) show(to *screen, m *meter) error {
	columns := []column{
		{title: "NAME", whole: true}, {title: "PID", whole: true}, {title: "STATE", whole: true}, {title: "ADDRESS"},
		{title: "RESTARTS"}, {title: "CPU"}, {title: "MEMORY"}, {title: "FOR"},
	}
	all := !to.terminal() || to.width >= wide
	if all {
		columns = append(columns, column{title: "ADMIN"})
	}
	var rows [][]cell
	for _, p := range s.Processes {
		cpu, memory := m.read(p.PID, p.Since)
		pid := ""
		if p.PID != 0 {
			pid = fmt.Sprint(p.PID)
		}
		row := []cell{
			text(p.Name), text(pid), {string(p.State), stateStyle(p.State)}, text(p.address()),
			text(fmt.Sprint(p.Restarts)), text(cpu), text(memory), text(roughly(to.now().Sub(p.Since))),
		}
		if all {
			row = append(row, text(p.Admin))
		}
		rows = append(rows, row)
	}
	return to.table(columns, rows)
}

func stateStyle(s supervise.State) string {
	switch s {
	case supervise.Ready:
		return green
	case supervise.Waiting, supervise.Unready:
		return red
	case supervise.Starting, supervise.Stopping:
		return yellow
	}
	return plain
}

// admins returns the admin listeners of the fleet, as --admin takes them.
func (s fleetState) admins() string {
	var urls []string
	for _, p := range s.Processes {
		if p.Admin != "" {
			urls = append(urls, "http://"+p.Admin)
		}
	}
	return strings.Join(urls, ",")
}
