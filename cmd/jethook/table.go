package main

import (
	"fmt"

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

// blockRows is of how many rows a long table is printed at a time.
const blockRows = 1000

// longTable is a table of any number of rows. It is printed in blocks, so that it
// takes no more memory than one of them; columns keep the width that they have by
// then.
type longTable struct {
	app    *app
	table  table.Writer
	widths []int // of the columns so far
	block  int   // rows of this block
	rows   int
}

func (a *app) longTable(columns ...string) *longTable {
	l := &longTable{app: a, table: a.table(columns...), widths: make([]int, len(columns))}
	for i, c := range columns {
		l.widths[i] = text.StringWidthWithoutEscSequences(c)
	}
	return l
}

func (l *longTable) row(cells ...any) {
	if l.block == blockRows {
		l.print()
	}
	for i, c := range cells {
		l.widths[i] = max(l.widths[i], text.StringWidthWithoutEscSequences(fmt.Sprint(c)))
	}
	l.table.AppendRow(cells)
	l.block++
	l.rows++
}

// print prints a block. In a pipe only the first has a header.
func (l *longTable) print() {
	l.table.Render()
	l.table.ResetRows()
	if !l.app.Terminal {
		l.table.ResetHeaders()
	}
	configs := make([]table.ColumnConfig, len(l.widths))
	for i, w := range l.widths {
		configs[i] = table.ColumnConfig{Number: i + 1, WidthMin: w}
	}
	l.table.SetColumnConfigs(configs)
	l.block = 0
}

// end prints what is left, and returns how many rows there were.
func (l *longTable) end() int {
	if l.block > 0 {
		l.print()
	}
	return l.rows
}
