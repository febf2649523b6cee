package main

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// report is what a run found, as it is written to the JSON file.
type report struct {
	Events      int       `json:"events"`
	Body        int       `json:"body_bytes"`
	Connections int       `json:"yardstick_connections"`
	Yardsticks  []float64 `json:"yardsticks_per_second"` // before the first figure, and after each
	Results     []result  `json:"results"`
	Proofs      []proof   `json:"proofs"`
}

// result is what one part found.
type result struct {
	Name        string        `json:"name"`
	PerSecond   float64       `json:"per_second,omitempty"`
	Ratio       float64       `json:"ratio,omitempty"` // to the yardsticks before and after
	CPUPerEvent time.Duration `json:"cpu_per_event_ns,omitempty"`
	P50         time.Duration `json:"p50_ns,omitempty"`
	P99         time.Duration `json:"p99_ns,omitempty"`
	PeakMiB     float64       `json:"peak_mib"`
	RestMiB     float64       `json:"rest_mib"`
	Repeated    int64         `json:"repeated"`
	Held        float64       `json:"held"` // events that were stored once more, to wait for the endpoint
	NoRequests  bool          `json:"-"`    // nothing to compare with the yardstick
}

func (r report) print(w io.Writer) {
	if len(r.Results) > 0 {
		r.printFigures(w)
	}
	if len(r.Proofs) > 0 {
		r.printProofs(w)
	}
}

func (r report) printFigures(w io.Writer) {
	fmt.Fprintf(w, "yardstick: net/http posts %d bytes over %d connections at", r.Body, r.Connections)
	for _, y := range r.Yardsticks {
		fmt.Fprintf(w, " %.0f", y)
	}
	fmt.Fprintf(w, " requests/s (%d cores, %d events a run)\n", runtime.NumCPU(), r.Events)
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.AppendHeader(table.Row{"run", "events/s", "ratio", "CPU/event", "p50", "p99", "peak MiB", "at rest MiB", "repeated", "held"})
	for _, x := range r.Results {
		t.AppendRow(table.Row{x.Name, zero(x.PerSecond, "%.0f"), zero(x.Ratio, "%.2f"), span(x.CPUPerEvent),
			span(x.P50), span(x.P99), zero(x.PeakMiB, "%.0f"), zero(x.RestMiB, "%.0f"), x.Repeated, x.Held})
	}
	t.Render()
}

func (r report) printProofs(w io.Writer) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.AppendHeader(table.Row{"proof", "finding", "value", "target", "met"})
	for _, p := range r.Proofs {
		name := p.Name
		for _, f := range p.Findings {
			t.AppendRow(table.Row{name, f.Name, f.value(), f.Target, f.verdict()})
			name = "" // once is enough
		}
		t.AppendRow(table.Row{name, p.verdict(), "took " + p.Took.Round(time.Second).String(), "", ""})
		t.AppendSeparator()
	}
	t.Render()
	for _, p := range r.Proofs {
		if p.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", p.Name, p.Error)
		}
	}
}

func zero(v float64, format string) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf(format, v)
}

func span(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.Round(time.Microsecond).String()
}
