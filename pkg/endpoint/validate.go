package endpoint

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"jethook/pkg/retry"
	"jethook/pkg/signature"
)

// The bounds of a document's fields.
const (
	MaxPatterns       = 64
	MaxSecrets        = 10
	MaxRetryOn        = 32
	MaxDescription    = 1024
	MaxConcurrency    = 10_000
	MaxRate           = 1_000_000
	maxBody           = 64 << 20
	minTimeout        = 100 * time.Millisecond
	maxTimeout        = 5 * time.Minute
	minExpireAfter    = time.Second
	maxExpireAfter    = 30 * day
	minDisableAfter   = time.Minute
	maxDisableAfter   = 365 * day
	maxDisabledReason = 4096
)

// Rules are the parts of validation that an operator decides.
type Rules struct {
	// AllowHTTP accepts URLs that are not https.
	AllowHTTP bool
	// Resolve returns the secret that a file refers to by "env:" or "file:": see
	// ResolveReference. Nil refuses such references.
	Resolve func(reference string) (string, error)
}

// Validate returns nil for a document that can be delivered to, and otherwise
// Problems that name every field that is wrong.
func (d Document) Validate(rules Rules) error { return d.check(rules).err() }

// check reports fields by their path within the document, such as retry.base.
func (d Document) check(rules Rules) Problems {
	var problems Problems
	report := func(field, message string) {
		problems = append(problems, Problem{Field: field, Message: message})
	}
	d.checkIdentity(rules, report)
	d.checkEvents(report)
	d.checkContact(rules, report)
	d.checkSigning(report)
	d.checkExtraSignatures(report)
	d.checkAuth(rules, report)
	d.checkTLS(report)
	d.checkDelivery(report)
	d.checkRetryOn(report)
	d.checkLimits(report)
	d.checkOrdered(report)
	checkHeaders(d.Headers, report)
	return problems
}

func (d Document) checkIdentity(rules Rules, report func(field, message string)) {
	checkName(report, "tenant", d.Tenant)
	checkName(report, "id", d.ID)
	if d.URL == "" {
		report("url", "is required: where events are posted to, such as https://example.com/hooks")
	} else if err := CheckURL(d.URL, rules.AllowHTTP); err != nil {
		report("url", err.Error())
	}
	checkText(report, "description", d.Description, MaxDescription)
	if d.Disabled != nil {
		checkText(report, "disabled.reason", d.Disabled.Reason, maxDisabledReason)
	}
}

func (d Document) checkEvents(report func(field, message string)) {
	if n := len(d.Events); n < 1 || n > MaxPatterns {
		report("events", fmt.Sprintf(`must list 1 to %d patterns, such as "order.*", not %d; ">" is every event`, MaxPatterns, n))
		return
	}
	for i, pattern := range d.Events {
		if err := CheckPattern(pattern); err != nil {
			report(item("events", i), err.Error())
		} else if j := slices.Index(d.Events, pattern); j < i {
			report(item("events", i), "repeats "+item("events", j)+", "+quote(pattern))
		}
	}
}

// checkSigning never repeats a secret, not even one that is malformed.
func (d Document) checkSigning(report func(field, message string)) {
	switch d.Signing {
	case SigningV1, SigningV1a:
	case SigningNone:
		if len(d.Secrets) > 0 {
			report("secrets", "must be left out with signing: none, which sends no signatures")
		}
		return
	default:
		report("signing", "must be v1, v1a or none, not "+quote(string(d.Signing)))
	}
	if n := len(d.Secrets); n > MaxSecrets {
		report("secrets", fmt.Sprintf("must be at most %d secrets, not %d", MaxSecrets, n))
		return
	}
	if len(d.Secrets) > 0 && !slices.ContainsFunc(d.Secrets, func(s SigningSecret) bool { return s.ExpiresAt.IsZero() }) {
		report("secrets", "must have one without expires_at: requests would go unsigned when all have expired")
	}
	for i, s := range d.Secrets {
		if s.Secret.Sealed() {
			continue // whoever sealed it saw to it
		}
		same := func(other SigningSecret) bool { return other.Secret == s.Secret }
		if key, err := signature.ParseKey(s.Secret); err != nil {
			report(item("secrets", i), err.Error())
		} else if !key.CanSign() {
			report(item("secrets", i), "must be a secret (whsec_) or a private key (whsk_): a public key cannot sign")
		} else if j := slices.IndexFunc(d.Secrets, same); j < i {
			report(item("secrets", i), "repeats "+item("secrets", j)+": each secret must be another")
		}
	}
}

// checkKind asks for a secret of the kind that the document names, where it lists
// any: with none of it, all signatures would be of the other kind. It is asked of
// what people write, not of what is stored.
func (d Document) checkKind() (problems Problems) {
	signs := func(s SigningSecret) bool {
		key, err := signature.ParseKey(s.Secret)
		return err != nil || key.Version() == string(d.Signing) // what is none is told of already
	}
	if takes := secretOf[d.Signing]; takes != "" && len(d.Secrets) > 0 && !slices.ContainsFunc(d.Secrets, signs) {
		problems = append(problems, Problem{Field: "secrets", Message: fmt.Sprintf("must have one that begins with %s: without it, nothing is signed as signing: %s says", takes, d.Signing)})
	}
	return problems
}

// secretOf says how the secrets of each kind of signing begin.
var secretOf = map[Signing]string{SigningV1: "whsec_", SigningV1a: "whsk_"}

func (d Document) checkDelivery(report func(field, message string)) {
	checkDuration(report, "timeout", d.Timeout, minTimeout, maxTimeout)
	checkDuration(report, "expire_after", d.ExpireAfter, minExpireAfter, maxExpireAfter)
	checkDuration(report, "disable_after", d.DisableAfter, minDisableAfter, maxDisableAfter)
	var wrong *retry.FieldError
	if err := d.Retry.Validate(); errors.As(err, &wrong) {
		report("retry."+wrong.Field, wrong.Message)
	} else if err != nil {
		report("retry", err.Error())
	}
}

func (d Document) checkRetryOn(report func(field, message string)) {
	if n := len(d.RetryOn); n > MaxRetryOn {
		report("retry_on", fmt.Sprintf("must be at most %d statuses, not %d", MaxRetryOn, n))
		return
	}
	for i, status := range d.RetryOn {
		field := item("retry_on", i)
		switch {
		case status < 400 || status > 499:
			report(field, fmt.Sprintf("must be a status from 400 to 499, not %d: 3xx and 5xx are retried anyway, 2xx is success", status))
		case status == 408 || status == 425 || status == 429:
			report(field, fmt.Sprintf("must be left out: %d is retried anyway", status))
		case status == 410:
			report(field, "must be left out: 410 disables the endpoint")
		case slices.Index(d.RetryOn, status) < i:
			report(field, fmt.Sprintf("repeats status %d", status))
		}
	}
}

func (d Document) checkLimits(report func(field, message string)) {
	if d.MaxBody < 0 || d.MaxBody > maxBody {
		report("max_body", fmt.Sprintf("must be from 1 to %d bytes, or 0 for what the stream of events allows, not %d", maxBody, d.MaxBody))
	}
	if d.MaxInFlight < 1 || d.MaxInFlight > MaxConcurrency {
		report("max_in_flight", fmt.Sprintf("must be from 1 to %d, not %d", MaxConcurrency, d.MaxInFlight))
	}
	if l := d.RateLimit; l != nil {
		// Asked for in the affirmative, because NaN is in no range.
		if inRange := l.PerSecond > 0 && l.PerSecond <= MaxRate; !inRange {
			report("rate_limit.per_second", "must be more than 0 and at most 1000000, not "+strconv.FormatFloat(l.PerSecond, 'g', -1, 64))
		}
		if l.Burst < 1 || l.Burst > MaxRate {
			report("rate_limit.burst", fmt.Sprintf("must be from 1 to %d, not %d", MaxRate, l.Burst))
		}
	}
	if !isName(d.Lane) {
		report("lane", quote(d.Lane)+" must be "+nameRule)
	}
}

// maxOrderedWait leaves an ordered endpoint's events, which wait in the stream of
// events and nowhere else, a day before the stream drops them.
const maxOrderedWait = 144 * time.Hour

func (d Document) checkOrdered(report func(field, message string)) {
	switch d.OnFailure {
	case "":
	case OnFailureHold, OnFailureSkip:
		if !d.Ordered {
			report("on_failure", "takes ordered: true, without which no event waits for another")
		}
	default:
		report("on_failure", "must be hold or skip, not "+quote(string(d.OnFailure)))
	}
	if t := time.Duration(d.ExpireAfter); d.Ordered && t > maxOrderedWait && t <= maxExpireAfter {
		report("expire_after", fmt.Sprintf("must be at most %s with ordered: true, not %s: events are kept for 7 days", Duration(maxOrderedWait), d.ExpireAfter))
	}
}

func checkName(report func(field, message string), field, name string) {
	switch {
	case name == "":
		report(field, "is required: "+nameRule)
	case !isName(name):
		report(field, quote(name)+" must be "+nameRule)
	}
}

func checkText(report func(field, message string), field, text string, most int) {
	n := utf8.RuneCountInString(text)
	if n > most {
		report(field, fmt.Sprintf("must be at most %d characters long, not %d", most, n))
		return
	}
	for _, c := range text {
		if c == utf8.RuneError || unicode.IsControl(c) && c != '\n' && c != '\t' {
			report(field, "must be text without control characters")
			return
		}
	}
}

func checkDuration(report func(field, message string), field string, d Duration, least, most time.Duration) {
	if t := time.Duration(d); t < least || t > most {
		report(field, fmt.Sprintf("must be from %s to %s, not %s", Duration(least), Duration(most), d))
	}
}

func item(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
