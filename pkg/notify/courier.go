package notify

import (
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"jethook/pkg/endpoint"
	"jethook/pkg/event"
)

// The bounds of what is brought to contacts.
const (
	mostNotes       = 1024             // that wait, to all contacts
	mostOfTenant    = mostNotes / 4    // of one tenant
	mostSending     = 8                // on their way by mail, and as many to Slack
	mostSendingOf   = mostSending / 4  // of these of one tenant, by both together
	sendingFor      = 15 * time.Second // one try
	perSecond       = 5                // of all
	burst           = 50
	perEndpoint     = 2 * time.Minute // one word of each type in so long, after a burst
	endpointBurst   = 5
	mostLimits      = 50_000 // that are remembered
	mostHeard       = 4096   // words that are remembered, so that a copy is none
	whileTotalFull  = time.Second / perSecond
	lastNotesWithin = 2 * time.Second
)

// patience is how long each further try waits. Then a note is given up.
var patience = []time.Duration{2 * time.Second, 20 * time.Second, 2 * time.Minute}

// CourierOptions are what a courier works with. All but SMTP are required.
type CourierOptions struct {
	Endpoints interface {
		Get(tenant, id string) *endpoint.Endpoint
	}
	HTTP HTTP
	// SMTP is the server that takes e-mail. Nil: none is sent.
	SMTP      *SMTP
	UserAgent string
	// Brought hears of each message, by "email" or "slack", what became of it: see
	// the results.
	Brought func(by, result string)
	Logger  zerolog.Logger
}

// What becomes of a message: it was sent, given up after as many tries as help, or
// there were too many to try.
const (
	Sent    = "sent"
	GivenUp = "given_up"
	TooMany = "too_many"
)

// Courier brings words to the contacts of endpoints, in memory and with no promise:
// the event that it learns of is what is kept. It blocks nobody.
type Courier struct {
	endpoints interface {
		Get(tenant, id string) *endpoint.Endpoint
	}
	slack slack
	smtp  *SMTP
	done  func(by, result string)
	log   zerolog.Logger
	odd   oddities
	wake  chan struct{} // of capacity 1
	total *rate.Limiter
	waits []time.Duration

	mu      sync.Mutex
	notes   []note
	sending map[string]int           // notes on their way, by mail or to Slack
	theirs  map[string]int           // the same, by tenant
	limits  map[string]*rate.Limiter // by endpoint and type of word
	heard   map[string]bool          // ids of words
	order   []string                 // of heard, oldest first
}

// oddities are the logs of what goes wrong again and again, each for one message: what
// is said often leaves the others unsaid otherwise.
type oddities struct{ forged, unsent, sealed, tooMuch zerolog.Logger }

// seldom returns a log that takes a line a minute.
func seldom(log zerolog.Logger) zerolog.Logger {
	return log.Sample(&zerolog.BurstSampler{Burst: 1, Period: time.Minute})
}

// note is a word on its way to one address.
type note struct {
	tenant, id string
	event      string // the word's, by its id
	word       Word
	email      string // empty: to Slack
	tries      int
	due        time.Time
}

// NewCourier returns a courier that brings nothing before Run.
func NewCourier(o CourierOptions) *Courier {
	return &Courier{
		endpoints: o.Endpoints, slack: slack{o.HTTP, o.UserAgent}, smtp: o.SMTP, done: o.Brought, log: o.Logger,
		odd:  oddities{seldom(o.Logger), seldom(o.Logger), seldom(o.Logger), seldom(o.Logger)},
		wake: make(chan struct{}, 1), total: rate.NewLimiter(perSecond, burst), waits: patience,
		sending: map[string]int{}, theirs: map[string]int{}, limits: map[string]*rate.Limiter{}, heard: map[string]bool{},
	}
}

// Heard hears of one of jethook's own events, about an endpoint of its tenant, and
// takes it to be brought to the endpoint's contact, if it has one. One that was stored
// long ago is in hand now because a consumer began anew, or a lane was not served.
func (c *Courier) Heard(e event.Event, about string) {
	ep := c.endpoints.Get(e.Tenant, about)
	if ep == nil || ep.Contact == nil || time.Since(e.Time) > oldNews {
		return
	}
	w, ok := readWord(e, ep.Name())
	if !ok {
		c.odd.forged.Warn().Str("endpoint", ep.Name()).Str("event_id", e.ID).Msg("an event in jethook's name is not one that jethook wrote: nobody is told of it")
		return
	}
	var addresses []string
	if c.smtp != nil {
		addresses = append(addresses, ep.Contact.Email...)
	} else if len(ep.Contact.Email) > 0 {
		c.odd.unsent.Warn().Str("endpoint", ep.Name()).Msg("an endpoint's contact has e-mail addresses, and JETHOOK_SMTP_URL is not set: no mail is sent")
	}
	switch parsed, err := ep.Parsed(); {
	case err != nil:
		c.odd.sealed.Warn().Str("endpoint", ep.Name()).Msg("an endpoint's contact is not told in Slack: its URL may be sealed with a master key that is not among these")
	case parsed.Contact.Slack != "":
		addresses = append(addresses, "")
	}
	if !c.take(e, ep.ID, w, addresses) {
		for _, address := range addresses {
			c.done(note{email: address}.by(), TooMany)
		}
		c.odd.tooMuch.Warn().Str("endpoint", ep.Name()).Str("type", w.Type).Msg("an endpoint's contact is not told: there is too much to tell")
	}
}

// take takes notes to addresses, and reports whether there was room. A word that
// was heard before is none.
func (c *Courier) take(e event.Event, id string, w Word, addresses []string) bool {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heard[e.ID] || len(addresses) == 0 {
		return true
	}
	c.remember(e.ID)
	ofTenant := 0
	for i := range c.notes {
		if c.notes[i].tenant == e.Tenant {
			ofTenant++
		}
	}
	if len(c.notes)+len(addresses) > mostNotes || ofTenant+len(addresses) > mostOfTenant || !c.limit(w).AllowN(now, 1) {
		return false
	}
	for _, address := range addresses {
		c.notes = append(c.notes, note{tenant: e.Tenant, id: id, event: e.ID, word: w, email: address})
	}
	c.signal()
	return true
}

// remember remembers a word's id. The caller holds the mutex.
func (c *Courier) remember(id string) {
	c.heard[id] = true
	if c.order = append(c.order, id); len(c.order) > mostHeard {
		delete(c.heard, c.order[0])
		c.order = c.order[1:]
	}
}

// limit returns the limit of an endpoint's words of one type: however many dead
// letters are told of, that it works again is told as that it failed was. The caller
// holds the mutex.
func (c *Courier) limit(w Word) *rate.Limiter {
	name := w.Endpoint + " " + w.Type
	l := c.limits[name]
	if l == nil {
		if len(c.limits) >= mostLimits {
			clear(c.limits) // seldom, and what is in the queue stays bounded
		}
		l = rate.NewLimiter(rate.Every(perEndpoint), endpointBurst)
		c.limits[name] = l
	}
	return l
}

func (c *Courier) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
