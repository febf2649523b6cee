package endpoint

import (
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a document or a file of documents.
type Problem struct {
	// File, Line and Column say where, as far as the document is from a file.
	File         string
	Line, Column int
	// Field is the path of the field, such as endpoints[2].retry.base.
	Field string
	// Message says what is wrong and what is allowed. It never repeats what
	// could be a secret.
	Message string
}

// Error gives the place, the field and the message in one line.
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		b.WriteByte(':')
	}
	if p.Line > 0 {
		b.WriteString(strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column) + ":")
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is all that is wrong with a document or a file of documents.
type Problems []Problem

// Error gives one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each problem to errors.As.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// err returns nil rather than an error of no problems.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// quote quotes what an operator wrote for a message, cut to a sane length.
func quote(s string) string {
	const longest = 80
	if len(s) > longest {
		return strconv.QuoteToASCII(s[:longest]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
