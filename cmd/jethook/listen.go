package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"jethook/pkg/receiver"
	"jethook/pkg/secret"
	"jethook/pkg/signature"
)

// listenCmd is `jethook listen`: a receiver for trying things.
type listenCmd struct {
	Addr    string        `default:"127.0.0.1:9000" placeholder:"HOST:PORT" help:"Address to listen on (${default}); port 0 takes a free one."`
	Secret  []string      `sep:"none" placeholder:"SECRET" help:"Verify signatures with this secret (whsec_… or whpk_…) and answer 401 where none fits; may be repeated."`
	Fail    string        `placeholder:"SHARE" help:"Share of requests to answer with --status, such as 30% or 0.3."`
	Status  int           `placeholder:"CODE" help:"Status of the failures that --fail picks (503 if not set); without --fail, of all answers."`
	Latency time.Duration `placeholder:"DURATION" help:"Time to let pass before each answer, such as 200ms."`
	Hang    bool          `help:"Take requests and never answer them."`
	JSON    bool          `name:"json" help:"Print one JSON document a line, with all headers and the whole body."`
}

// Run receives until the context ends, prints each request, and closes with a
// summary on stderr.
func (c *listenCmd) Run(ctx context.Context, out *app) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	show := c.printer(out)
	var unshown error // OnRequest is called serially, and not after Close
	options.OnRequest = func(req receiver.Request) {
		if err := show(req); err != nil && unshown == nil {
			unshown = fmt.Errorf("print a request: %w", err)
			stop()
		}
	}

	r := receiver.New(options)
	url, err := r.Listen(c.Addr)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot listen on %s, choose another --addr: %w", c.Addr, err), r.Close())
	}
	fmt.Fprintf(out.Err, "listening on %s (%s); Ctrl-C ends it\n", url, c.manner())
	<-ctx.Done()
	err = r.Close()
	fmt.Fprintln(out.Err, summary(r.Stats()))
	return errors.Join(unshown, err)
}

// options turns the flags into the receiver's options.
func (c *listenCmd) options() (receiver.Options, error) {
	o := receiver.Options{Status: c.Status, Latency: c.Latency, Hang: c.Hang}
	var err error
	if o.Fail, err = parseShare(c.Fail); err != nil {
		return o, usageError{fmt.Errorf("--fail: %w", err)}
	}
	if c.Fail != "" && o.Fail == 0 {
		o.Status = 0 // a share of nobody; alone, the status would be for all
	}
	if c.Status != 0 && (c.Status < 200 || c.Status > 599) {
		return o, usageError{fmt.Errorf("--status %d: a receiver answers with 200 to 599", c.Status)}
	}
	if c.Latency < 0 {
		return o, usageError{fmt.Errorf("--latency %s: time runs forward", c.Latency)}
	}
	o.Keys, err = parseKeys(c.Secret)
	return o, err
}

// manner says how requests will be answered.
func (c *listenCmd) manner() string {
	var parts []string
	switch status := c.Status; {
	case c.Hang:
		parts = append(parts, "never answers")
	case c.Fail != "":
		if status == 0 {
			status = http.StatusServiceUnavailable
		}
		parts = append(parts, fmt.Sprintf("fails %s with %d", c.Fail, status))
	case status != 0:
		parts = append(parts, fmt.Sprintf("answers %d", status))
	}
	if c.Latency > 0 && !c.Hang {
		parts = append(parts, "after "+c.Latency.String())
	}
	if len(c.Secret) > 0 {
		parts = append(parts, "verifies signatures")
	} else {
		parts = append(parts, "signatures unchecked without --secret")
	}
	return strings.Join(parts, ", ")
}

// printer returns the function that prints one request.
func (c *listenCmd) printer(out *app) func(receiver.Request) error {
	if !c.JSON {
		lines := requestLines{colours: out.Terminal, width: terminalWidth(out)}
		return func(req receiver.Request) error {
			_, err := fmt.Fprintln(out.Out, lines.format(req))
			return err
		}
	}
	return func(req receiver.Request) error { return encode(out.Out, newRequestDocument(req)) }
}

// requestDocument is a request in the form that --json prints.
type requestDocument struct {
	At          time.Time         `json:"at"`
	Status      int               `json:"status"`
	EventID     string            `json:"event_id"`
	EventType   string            `json:"event_type"`
	EventTime   time.Time         `json:"event_time,omitzero"`
	Attempt     int               `json:"attempt"`
	Replay      bool              `json:"replay"`
	Duplicate   bool              `json:"duplicate"`
	Verified    receiver.Verified `json:"verified"`
	VerifyError string            `json:"verify_error,omitempty"`
	Size        int               `json:"size"`
	Headers     http.Header       `json:"headers"`

	// Body is the body as text; one that is not UTF-8 is in BodyBase64 instead,
	// so that no byte is lost.
	Body       string `json:"body"`
	BodyBase64 []byte `json:"body_base64,omitempty"`
}

func newRequestDocument(req receiver.Request) requestDocument {
	d := requestDocument{
		At: req.At, Status: req.Status,
		EventID: req.EventID, EventType: req.EventType, EventTime: req.EventTime,
		Attempt: req.Attempt, Replay: req.Replay, Duplicate: req.Duplicate,
		Verified: req.Verified, VerifyError: req.VerifyError,
		Size: len(req.Body), Headers: req.Header,
	}
	if utf8.Valid(req.Body) {
		d.Body = string(req.Body)
	} else {
		d.BodyBase64 = req.Body
	}
	return d
}

// summary says what came in, all in all.
func summary(s receiver.Stats) string {
	text := fmt.Sprintf("requests: %d, answered with success: %d, failed: %d, distinct events: %d, duplicates: %d",
		s.Requests, s.OK, s.Failed, s.Distinct, s.Duplicates)
	if s.BadSignatures > 0 {
		text += fmt.Sprintf(", bad signatures: %d", s.BadSignatures)
	}
	return text
}

// parseShare reads a share such as 30% or 0.3; an empty text is none.
func parseShare(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	share, err := strconv.ParseFloat(number, 64)
	if percent {
		share /= 100
	}
	if err != nil || !(share >= 0 && share <= 1) { // NaN is in no range
		return 0, fmt.Errorf("%q is no share: write 30%% or 0.3, from 0 to 1", text)
	}
	return share, nil
}

// parseKeys reads the secrets given as flags.
func parseKeys(secrets []string) ([]signature.Key, error) {
	var keys []signature.Key
	for i, text := range secrets {
		key, err := signature.ParseKey(secret.Secret(text))
		if err != nil {
			return nil, usageError{fmt.Errorf("--secret (number %d): %w", i+1, err)}
		}
		keys = append(keys, key)
	}
	return keys, nil
}
