//go:build linux

package torture

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Report is what came of a run.
type Report struct {
	Seed          uint64
	Length, Every time.Duration
	Begun         time.Time
	Took          time.Duration
	// Problems are why the run failed; none: it did not.
	Problems []string
	// Events are the strikes in the order in which they were over.
	Events []Event
	// Load are the figures of the load.
	Load []Figure
	// Starts is how often each process was started.
	Starts []Figure
	// QuietAfter is how long work took to end once all was healed.
	QuietAfter time.Duration
	// Found is what the invariant had to say.
	Found string
	// Said are the last lines of the processes.
	Said []Said
}

// Event is a strike as it happened; times count from the first strike's clock,
// as [Strike.At] does.
type Event struct {
	Strike
	Injected, Healed, Recovered time.Duration
	// Notes is what the fault observed.
	Notes string
}

// Said is what a process printed last.
type Said struct {
	Who   string
	Lines []string
}

// Markdown returns the report for people.
func (r Report) Markdown() string {
	var b strings.Builder
	verdict := "GREEN: everything holds"
	if len(r.Problems) > 0 {
		verdict = fmt.Sprintf("RED: %d problems", len(r.Problems))
	}
	fmt.Fprintf(&b, "# Torture: %s\n\n", verdict)
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "- **%s**\n", p)
	}
	fmt.Fprintf(&b, "\nSeed %d, %s with a fault every %s, begun %s, took %s. The same plan with this seed is struck in the same way.\n",
		r.Seed, r.Length, r.Every, r.Begun.Format(time.RFC3339), r.Took.Round(time.Second))
	r.figures(&b)
	if r.Found != "" {
		fmt.Fprintf(&b, "\n## What must hold\n\n%s\n", strings.TrimSpace(r.Found))
	}
	r.summary(&b)
	r.timeline(&b)
	if len(r.Problems) > 0 {
		for _, s := range r.Said {
			fmt.Fprintf(&b, "\n## Last words: %s\n\n```\n%s\n```\n", s.Who, strings.Join(s.Lines, "\n"))
		}
	}
	return b.String()
}

func (r Report) figures(b *strings.Builder) {
	b.WriteString("\n## Figures\n\n| | |\n|---|---|\n")
	for _, f := range r.Load {
		fmt.Fprintf(b, "| %s | %s |\n", f.Name, f.Value)
	}
	for _, f := range r.Starts {
		fmt.Fprintf(b, "| starts of %s | %s |\n", f.Name, f.Value)
	}
	fmt.Fprintf(b, "| quiet after the last heal | %s |\n", r.QuietAfter.Round(time.Millisecond))
}

// summary has one line a fault.
func (r Report) summary(b *strings.Builder) {
	type line struct {
		n   int
		all []time.Duration
	}
	lines := map[string]*line{}
	var names []string
	for _, e := range r.Events {
		l := lines[e.Fault]
		if l == nil {
			l = &line{}
			lines[e.Fault], names = l, append(names, e.Fault)
		}
		if e.Injected > 0 {
			l.n, l.all = l.n+1, append(l.all, e.Recovered-e.Healed)
		}
	}
	slices.Sort(names)
	b.WriteString("\n## Recovery after the heal, by fault\n\n| fault | times | median | longest |\n|---|---:|---:|---:|\n")
	for _, name := range names {
		l := lines[name]
		slices.Sort(l.all)
		if l.n > 0 {
			fmt.Fprintf(b, "| %s | %d | %s | %s |\n", name, l.n, short(l.all[l.n/2]), short(l.all[l.n-1]))
		}
	}
}

func (r Report) timeline(b *strings.Builder) {
	b.WriteString("\n## Timeline\n\n| at | fault | lasted | recovered after | observed |\n|---:|---|---:|---:|---|\n")
	events := slices.Clone(r.Events)
	slices.SortStableFunc(events, func(x, y Event) int { return cmp.Compare(x.At, y.At) })
	for _, e := range events {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", short(max(e.At, e.Injected)), e.Fault,
			short(e.Healed-e.Injected), short(e.Recovered-e.Healed), strings.ReplaceAll(e.Notes, "\n", " "))
	}
}

func short(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }

func (r Report) write(path string) error {
	if err := os.WriteFile(path, []byte(r.Markdown()), 0o600); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
