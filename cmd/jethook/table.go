package main

import (
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// table returns an empty table in the style of all our tables: ruled on a
// terminal, bare columns in a pipe.
func (a *app) table(columns ...string) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(a.Out)
	row := make(table.Row, len(columns))
	for i, c := range columns {
		row[i] = c
	}
	t.AppendHeader(row)
	style := table.StyleRounded
	if !a.Terminal {
		style = table.StyleDefault
		style.Options = table.OptionsNoBordersAndSeparators
	}
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	return t
}
