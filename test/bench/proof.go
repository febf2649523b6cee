package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// proof is what one promise looks like in figures.
type proof struct {
	Name     string        `json:"name"`
	Took     time.Duration `json:"took_ns"`
	Findings []finding     `json:"findings"`
	Error    string        `json:"error,omitempty"` // why it could not be carried out
}

// finding is a figure; one with a target says whether it was met.
type finding struct {
	Name   string    `json:"name"`
	Value  float64   `json:"value"`
	Series []float64 `json:"series,omitempty"` // in the place of Value
	Unit   string    `json:"unit,omitempty"`
	Target string    `json:"target,omitempty"`
	Met    *bool     `json:"met,omitempty"`
}

// note keeps a figure that has no target.
func (p *proof) note(name string, value float64, unit string) {
	p.Findings = append(p.Findings, finding{Name: name, Value: value, Unit: unit})
}

// series keeps figures that belong together, without a target.
func (p *proof) series(name string, values []float64, unit string) {
	p.Findings = append(p.Findings, finding{Name: name, Series: values, Unit: unit})
}

func (p *proof) atMost(name string, value float64, unit string, bound float64) {
	p.judge(finding{Name: name, Value: value, Unit: unit, Target: "<= " + number(bound)}, value <= bound)
}

func (p *proof) atLeast(name string, value float64, unit string, bound float64) {
	p.judge(finding{Name: name, Value: value, Unit: unit, Target: ">= " + number(bound)}, value >= bound)
}

func (p *proof) between(name string, value float64, unit string, least, most float64) {
	p.judge(finding{Name: name, Value: value, Unit: unit, Target: number(least) + " to " + number(most)}, value >= least && value <= most)
}

func (p *proof) judge(f finding, met bool) {
	f.Met = &met
	p.Findings = append(p.Findings, f)
}

// verdict says in a line how the proof went.
func (p *proof) verdict() string {
	if p.Error != "" {
		return "COULD NOT BE CARRIED OUT"
	}
	met, all := 0, 0
	for _, f := range p.Findings {
		if f.Met == nil {
			continue
		}
		all++
		if *f.Met {
			met++
		}
	}
	if met < all {
		return fmt.Sprintf("MISSED %d of %d targets", all-met, all)
	}
	return fmt.Sprintf("met all %d targets", all)
}

func (f finding) verdict() string {
	switch {
	case f.Met == nil:
		return ""
	case *f.Met:
		return "yes"
	}
	return "MISSED"
}

func (f finding) value() string {
	const shown = 15 // of a series; the JSON has all of it
	values := f.Series
	if values == nil {
		values = []float64{f.Value}
	}
	var texts []string
	for _, v := range values[:min(shown, len(values))] {
		texts = append(texts, number(v))
	}
	if len(values) > shown {
		texts = append(texts, "…")
	}
	return strings.TrimSpace(strings.Join(texts, " ") + " " + f.Unit)
}

// number writes a figure with as many digits as mean something.
func number(v float64) string {
	switch {
	case v >= 100 || v <= -100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v == float64(int64(v)):
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
