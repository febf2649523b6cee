package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"jethook/pkg/receiver"
)

const (
	// clock is how a line says when.
	clock = "15:04:05.000"

	// bodyRunes is how much of a body a line shows at most, and bodyRunesLeast
	// what it shows even where the terminal is too narrow for it.
	bodyRunes      = 200
	bodyRunesLeast = 20

	// fieldRunes bounds a header's value, or an event's type, on a line: a sender
	// may write anything.
	fieldRunes = 64

	// compactable is the size up to which a body is tidied before it is cut.
	compactable = 64 << 10
)

// requestLines formats requests as lines for people. Everything in a request is
// the sender's word, so whatever could move a cursor or turn text around is
// escaped.
type requestLines struct {
	colours bool
	width   int // columns of the terminal, 0 when it is none
}

// format returns the line of one request, without its end.
func (l requestLines) format(req receiver.Request) string {
	status := strconv.Itoa(req.Status)
	if req.Status == 0 {
		status = "---" // no answer was given
	}
	rest := " " + strings.Join(l.fields(req), "  ") + "  "
	limit := bodyRunes
	if l.width > 0 {
		used := utf8.RuneCountInString(clock+" 200 ✓") + utf8.RuneCountInString(rest)
		limit = min(bodyRunes, max(bodyRunesLeast, l.width-used-1)) // 1 for the mark of a cut
	}
	return req.At.Format(clock) + " " + l.paint(statusColour(req), status) + " " + l.mark(req) +
		rest + preview(req.Body, limit)
}

// fields are the parts of a line between the mark and the body.
func (l requestLines) fields(req receiver.Request) []string {
	fields := []string{
		orDash(printable(req.EventType, fieldRunes)),
		orDash(printable(req.EventID, fieldRunes)),
	}
	if req.Attempt > 0 {
		fields = append(fields, "attempt "+strconv.Itoa(req.Attempt))
	}
	if req.Replay {
		fields = append(fields, "replay")
	}
	if req.Duplicate {
		fields = append(fields, "duplicate")
	}
	if req.VerifyError != "" {
		fields = append(fields, printable(req.VerifyError, bodyRunes))
	}
	return append(fields, byteSize(len(req.Body)))
}

// mark shows the outcome of the signature's check in one column.
func (l requestLines) mark(req receiver.Request) string {
	switch req.Verified {
	case receiver.Yes:
		return l.paint(green, "✓")
	case receiver.No:
		return l.paint(red, "✗")
	default:
		return "·"
	}
}

// colour is an ANSI colour's number.
type colour int

const (
	red    colour = 31
	green  colour = 32
	yellow colour = 33
)

func statusColour(req receiver.Request) colour {
	switch {
	case req.Status >= 200 && req.Status <= 299:
		return green
	case req.Verified == receiver.No:
		return red
	default:
		return yellow
	}
}

// paint colours the text on a terminal and leaves it alone elsewhere.
func (l requestLines) paint(c colour, text string) string {
	if !l.colours {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", c, text)
}

// preview is the beginning of a body on one line: JSON without its spaces,
// anything else as it is.
func preview(body []byte, limit int) string {
	if len(body) > compactable {
		body = body[:compactable]
	}
	var compact bytes.Buffer
	if json.Compact(&compact, body) == nil {
		body = compact.Bytes()
	}
	return printable(string(body), limit)
}

// printable cuts a text to the limit and escapes what is not to be printed.
func printable(text string, limit int) string {
	var b strings.Builder
	for used := 0; text != ""; {
		r, size := utf8.DecodeRuneInString(text)
		piece := text[:size]
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			piece = strconv.QuoteToASCII(piece)
			piece = piece[1 : len(piece)-1]
		}
		if used += utf8.RuneCountInString(piece); used > limit {
			return b.String() + "…"
		}
		b.WriteString(piece)
		text = text[size:]
	}
	return b.String()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// byteSize writes a number of bytes as people say it.
func byteSize(n int) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
}

// terminalWidth returns the columns of the terminal behind the output, 0 when
// there is none or it does not tell.
func terminalWidth(out *app) int {
	to := out.Out
	if o, ok := to.(*output); ok {
		to = o.Writer
	}
	file, ok := to.(*os.File)
	if !ok || !out.Terminal {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}
