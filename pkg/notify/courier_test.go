package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/rs/zerolog"

	"jethook/pkg/delivery"
	"jethook/pkg/egress"
	"jethook/pkg/endpoint"
	"jethook/pkg/event"
	"jethook/pkg/secret"
	"jethook/streams"
)

// directory are endpoints by name.
type directory struct {
	mu      sync.Mutex
	all     map[string]*endpoint.Endpoint
	changed chan struct{}
}

func (d *directory) put(t testing.TB, tenant, id string, change ...func(*endpoint.Document)) {
	t.Helper()
	doc := endpoint.NewDocument()
	doc.Tenant, doc.ID, doc.URL, doc.Events = tenant, id, "https://example.com/"+id+"?CANARY", []string{">"}
	for _, f := range change {
		f(&doc)
	}
	ep, err := endpoint.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all == nil {
		d.all = map[string]*endpoint.Endpoint{}
	}
	d.all[ep.Name()] = ep
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

func (d *directory) remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.all, name)
}

func (d *directory) Get(tenant, id string) *endpoint.Endpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all[tenant+"/"+id]
}

func (d *directory) Disabled() (all []*endpoint.Endpoint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ep := range d.all {
		if ep.Disabled != nil {
			all = append(all, ep)
		}
	}
	return all
}

func (d *directory) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.changed
}

func (d *directory) InSync() bool { return true }

func contact(c endpoint.Contact) func(*endpoint.Document) {
	return func(d *endpoint.Document) { d.Contact = &c }
}

// lines is a log that can be read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// eventAbout is a word as an event that was stored and read just now, under an id.
func eventAbout(t testing.TB, w Word, id string) event.Event {
	t.Helper()
	data, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	tenant, _ := w.split()
	return event.Event{ID: id, Tenant: tenant, Type: w.Type, Time: time.Now(), Body: data}
}

// newCourier returns a courier that counts for nobody, unless it is to.
func newCourier(o CourierOptions) *Courier {
	if o.Brought == nil {
		o.Brought = func(string, string) {}
	}
	return NewCourier(o)
}

// begin runs a courier until the test ends.
func begin(t testing.TB, c *Courier) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
}

// slackChannel is a receiver of what goes to Slack.
type slackChannel struct {
	*httptest.Server
	texts chan string
}

func newSlack(t testing.TB, status ...int) *slackChannel {
	t.Helper()
	s := &slackChannel{texts: make(chan string, 64)}
	var mu sync.Mutex
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var said struct{ Text string }
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &said)
		}
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(r.UserAgent(), "jethook/") {
			t.Errorf("%s %s: %v", r.Method, body, err)
		}
		s.texts <- r.URL.Path + " " + said.Text
		mu.Lock()
		defer mu.Unlock()
		if len(status) > 0 {
			w.WriteHeader(status[0])
			status = status[1:]
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *slackChannel) next(t testing.TB) string {
	t.Helper()
	select {
	case text := <-s.texts:
		return text
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came to Slack")
		return ""
	}
}

// guarded is the client that deliveries go through, allowed to reach this machine.
func guarded(t testing.TB, allow ...egress.Rule) *egress.Client {
	t.Helper()
	c := egress.New(egress.Options{AllowHTTP: true, Allow: allow})
	t.Cleanup(c.Close)
	return c
}

var thisMachine = egress.Rule{Prefix: netip.MustParsePrefix("127.0.0.0/8")}

func TestAContactIsToldByMailAndInSlack(t *testing.T) {
	box, channel, log := newMailbox(t, "smtps", true), newSlack(t, 500, 429), &lines{}
	results := make(chan string, 8)
	box.refuse = []error{&smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 1, 1}, Message: "later"}}
	endpoints := &directory{}
	endpoints.put(t, "acme", "crm", contact(endpoint.Contact{Email: []string{"a@example.com", "b@example.com"}, Slack: secret.Secret(channel.URL + "/CANARY")}))
	endpoints.put(t, "acme", "other")
	c := newCourier(CourierOptions{Endpoints: endpoints, HTTP: guarded(t, thisMachine), SMTP: box.settings(""), UserAgent: "jethook/test", Logger: zerolog.New(log), Brought: func(by, result string) { results <- by + " " + result }})
	c.waits = []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}
	begin(t, c)
	w := aWord
	w.Why = "<!channel> & more"
	c.Heard(eventAbout(t, w, "one"), "crm")
	c.Heard(eventAbout(t, w, "one"), "crm") // NATS hands out a message twice
	w.Endpoint = "acme/other"
	c.Heard(eventAbout(t, w, "two"), "other") // has no contact
	c.Heard(eventAbout(t, w, "three"), "gone")
	to := map[string]int{}
	for range 2 {
		to[box.next().to]++
	}
	if to["a@example.com"] != 1 || to["b@example.com"] != 1 {
		t.Errorf("mail went to %v", to)
	}
	for range 3 { // two of which were refused for a while
		if text := channel.next(t); !strings.HasPrefix(text, "/CANARY acme/crm is failing") || !strings.Contains(text, "&lt;!channel&gt; &amp; more") {
			t.Errorf("Slack has %q", text)
		}
	}
	got := []string{<-results, <-results, <-results}
	if slices.Sort(got); !slices.Equal(got, []string{"email sent", "email sent", "slack sent"}) {
		t.Errorf("it is counted as %q", got)
	}
	if len(results)+len(box.mail)+len(channel.texts) > 0 || log.String() != "" {
		t.Errorf("%d more mails, %d more in Slack, the log has %s", len(box.mail), len(channel.texts), log)
	}
}

// post is a client that answers as told.
type post func(*http.Request) (egress.Response, error)

func (p post) Do(r *http.Request) (egress.Response, error) { return p(r) }

func TestWhatCannotBeBroughtIsGivenUpAndSaidOnce(t *testing.T) {
	for name, c := range map[string]struct {
		answer post
		tries  int
		says   string
	}{
		"a server that fails": {func(*http.Request) (egress.Response, error) { return egress.Response{Status: 503}, nil }, 4, "status 503"},
		"a URL that is gone":  {func(*http.Request) (egress.Response, error) { return egress.Response{Status: 404}, nil }, 1, "status 404"},
		"nobody there": {func(*http.Request) (egress.Response, error) {
			return egress.Response{}, &egress.Error{Failure: egress.Connect, Host: "CANARY"}
		}, 4, "connect"},
		"an address forbidden": {func(*http.Request) (egress.Response, error) {
			return egress.Response{}, &egress.Error{Failure: egress.BlockedAddress, Host: "CANARY"}
		}, 1, "blocked_address"},
		"an unknown error": {func(*http.Request) (egress.Response, error) { return egress.Response{}, errors.New("CANARY") }, 4, "could not be made"},
		"a silent one": {func(r *http.Request) (egress.Response, error) {
			<-r.Context().Done()
			return egress.Response{}, &egress.Error{Failure: egress.Timeout, Host: "CANARY"}
		}, 4, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				endpoints, log, tries, results := &directory{}, &lines{}, 0, []string{}
				endpoints.put(t, "acme", "crm", contact(endpoint.Contact{Slack: "https://hooks.example.com/CANARY"}))
				courier := newCourier(CourierOptions{Endpoints: endpoints, HTTP: post(func(r *http.Request) (egress.Response, error) {
					tries++
					return c.answer(r)
				}), Brought: func(by, result string) { results = append(results, by+" "+result) }, Logger: zerolog.New(log)})
				began := time.Now()
				begin(t, courier)
				courier.Heard(eventAbout(t, aWord, "one"), "crm")
				for synctest.Wait(); log.String() == ""; synctest.Wait() {
					if time.Since(began) > time.Hour {
						t.Fatal("it is never given up")
					}
					<-time.After(time.Second)
				}
				if tries != c.tries || strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), c.says) || strings.Contains(log.String(), "CANARY") || !slices.Equal(results, []string{"slack given_up"}) {
					t.Errorf("after %d tries it is %q, and the log has %s", tries, results, log)
				}
			})
		})
	}
}

// A guard stands between tenants' documents and what is inside.
func TestSlackIsReachedThroughTheGuard(t *testing.T) {
	channel := newSlack(t)
	err := slack{guarded(t), "jethook/test"}.send(t.Context(), secret.Secret(channel.URL), aWord)
	if _, final := errors.AsType[*finalError](err); !final || len(channel.texts) > 0 {
		t.Errorf("this machine is reached: %v", err)
	}
}

func TestNobodyIsKeptWaitingAndNobodyIsFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		sent, atOnce, most := 0, 0, 0
		var perSecondMost [3600]int
		began := time.Now()
		endpoints, log := &directory{}, &lines{}
		c := newCourier(CourierOptions{Endpoints: endpoints, HTTP: post(func(*http.Request) (egress.Response, error) {
			mu.Lock()
			sent++
			atOnce++
			most = max(most, atOnce)
			perSecondMost[int(time.Since(began).Seconds())]++
			mu.Unlock()
			<-time.After(500 * time.Millisecond)
			mu.Lock()
			atOnce--
			mu.Unlock()
			return egress.Response{Status: 200}, nil
		}), Logger: zerolog.New(log)})
		begin(t, c)
		for tenant := range 6 {
			for i := range 500 {
				name := fmt.Sprintf("t%d", tenant)
				id := fmt.Sprintf("e%d", i)
				endpoints.put(t, name, id, contact(endpoint.Contact{Slack: "https://hooks.example.com/CANARY"}))
				w := aWord
				w.Endpoint = name + "/" + id
				c.Heard(eventAbout(t, w, w.Endpoint), id)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("whoever said it waited %s", took)
		}
		<-time.After(30 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if sent < mostNotes || sent > mostNotes+mostSending || most > mostSending {
			t.Errorf("%d were sent, %d at a time", sent, most)
		}
		for second, n := range perSecondMost {
			if n > burst+perSecond || second > burst && n > perSecond+1 {
				t.Errorf("in second %d, %d were sent", second, n)
			}
		}
		if !strings.Contains(log.String(), "there is too much to tell") || strings.Count(log.String(), "\n") > 2 {
			t.Errorf("the log has %s", log)
		}
	})
}

// crowd is a courier whose tenants "evil", "evil2" and so on each told Slack 250 times, and
// what tells it of a word of another tenant and waits until that is brought.
func crowd(t *testing.T, evil int, answer post) (told func() time.Duration) {
	endpoints := &directory{}
	came := make(chan time.Time, 1)
	c := newCourier(CourierOptions{Endpoints: endpoints, HTTP: post(func(r *http.Request) (egress.Response, error) {
		if r.URL.Host == "good.example.com" {
			came <- time.Now()
			return egress.Response{Status: 200}, nil
		}
		return answer(r)
	}), Logger: zerolog.Nop()})
	say := func(tenant, id, host string) {
		endpoints.put(t, tenant, id, contact(endpoint.Contact{Slack: secret.Secret("https://" + host + ".example.com/CANARY")}))
		w := aWord
		w.Endpoint = tenant + "/" + id
		c.Heard(eventAbout(t, w, w.Endpoint), id)
	}
	for tenant := range evil {
		for i := range 250 {
			say(fmt.Sprintf("evil%d", tenant), fmt.Sprintf("e%d", i), "evil")
		}
	}
	begin(t, c)
	return func() time.Duration {
		synctest.Wait()
		began := time.Now()
		say("good", "crm", "good")
		return (<-came).Sub(began)
	}
}

// A tenant names the address that its words are brought to, and that may hang.
func TestWhatHangsKeepsNobodyWaiting(t *testing.T) {
	hangs := func(r *http.Request) (egress.Response, error) {
		<-r.Context().Done()
		return egress.Response{}, &egress.Error{Failure: egress.Timeout}
	}
	for evil, most := range map[int]time.Duration{1: 0, mostSending/mostSendingOf - 1: 0, mostNotes / mostOfTenant: sendingFor} {
		synctest.Test(t, func(t *testing.T) {
			if took := crowd(t, evil, hangs)(); took > most {
				t.Errorf("beside %d tenants, another was told after %s", evil, took)
			}
		})
	}
}

// One that has much to tell takes turns with the others.
func TestTenantsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := crowd(t, 3, func(*http.Request) (egress.Response, error) { return egress.Response{Status: 200}, nil })
		if took := told(); took > 5*whileTotalFull {
			t.Errorf("beside three that tell 250 words each, another was told after %s", took)
		}
	})
}

func TestMailAndSlackDoNotWaitForEachOther(t *testing.T) {
	c := newCourier(CourierOptions{Logger: zerolog.Nop()})
	mail, toSlack := note{tenant: "acme", email: "a@example.com"}, note{tenant: "acme"}
	c.sending[mail.by()] = mostSending
	if c.mayGo(mail) || !c.mayGo(toSlack) {
		t.Errorf("with a mail server that hangs, may mail go: %v, and may Slack be told: %v", c.mayGo(mail), c.mayGo(toSlack))
	}
}

func TestOneTenantLeavesRoomForOthers(t *testing.T) {
	endpoints := &directory{}
	c := newCourier(CourierOptions{Endpoints: endpoints, HTTP: post(nil), Logger: zerolog.Nop()}) // that does not run
	for tenant, most := range map[string]int{"t1": mostOfTenant, "t2": mostOfTenant, "t3": mostOfTenant} {
		for i := range mostNotes {
			id := fmt.Sprintf("e%d", i)
			endpoints.put(t, tenant, id, contact(endpoint.Contact{Slack: "https://hooks.example.com/CANARY"}))
			w := aWord
			w.Endpoint = tenant + "/" + id
			c.Heard(eventAbout(t, w, w.Endpoint), id)
		}
		waiting := 0
		for _, n := range c.notes {
			if n.tenant == tenant {
				waiting++
			}
		}
		if waiting != most {
			t.Errorf("of %s, %d wait, want %d", tenant, waiting, most)
		}
	}
}

func TestOneEndpointCannotTellOnAndOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		endpoints := &directory{}
		endpoints.put(t, "acme", "crm", contact(endpoint.Contact{Slack: "https://hooks.example.com/CANARY"}))
		c := newCourier(CourierOptions{Endpoints: endpoints, HTTP: post(func(*http.Request) (egress.Response, error) {
			sent++
			return egress.Response{Status: 200}, nil
		}), Logger: zerolog.Nop()})
		begin(t, c)
		for i := range 3600 { // whoever may publish can forge as many as they like
			c.Heard(eventAbout(t, aWord, fmt.Sprint(i)), "crm")
			<-time.After(time.Second)
			synctest.Wait()
		}
		if most := endpointBurst + int(time.Hour/perEndpoint); sent > most || sent < most-1 {
			t.Errorf("%d were sent in an hour, want %d", sent, most)
		}
	})
}

// A contact with many addresses is told as often as one with a single address, and
// no other words keep it from learning that its endpoint works again.
func TestWhoeverWasToldThatItFailsIsToldThatItWorksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := map[string]int{}
		endpoints := &directory{}
		many := endpoint.Contact{Slack: "https://hooks.example.com/CANARY"}
		for i := range endpoint.MaxEmails {
			many.Email = append(many.Email, fmt.Sprintf("a%d@example.com", i))
		}
		endpoints.put(t, "acme", "crm", contact(many))
		settings, err := ParseSMTP("smtp://mail.example.com", "")
		if err != nil {
			t.Fatal(err)
		}
		c := newCourier(CourierOptions{Endpoints: endpoints, HTTP: post(nil), SMTP: settings, Logger: zerolog.Nop()}) // that does not run
		for i, what := range slices.Concat([]string{streams.EndpointFailing}, slices.Repeat([]string{streams.DeliveryDead}, 10), []string{streams.EndpointRecovered}) {
			w := aWord
			w.Type = what
			c.Heard(eventAbout(t, w, fmt.Sprint(i)), "crm")
		}
		for _, n := range c.notes {
			box[n.word.Type]++
		}
		if each := endpoint.MaxEmails + 1; box[streams.EndpointFailing] != each || box[streams.EndpointRecovered] != each || box[streams.DeliveryDead] != endpointBurst*each {
			t.Errorf("%v messages, to %d addresses", box, each)
		}
	})
}

// What is said often does not hide what else is to be said.
func TestEachOddityIsSaid(t *testing.T) {
	endpoints, log := &directory{}, &lines{}
	endpoints.put(t, "acme", "crm", contact(endpoint.Contact{Email: []string{"a@example.com"}, Slack: "https://hooks.example.com/CANARY"}))
	endpoints.put(t, "acme", "sealed", contact(endpoint.Contact{Slack: "sealed:v1:00000000:AAAA"}))
	c := newCourier(CourierOptions{Endpoints: endpoints, HTTP: post(nil), Logger: zerolog.New(log)}) // that does not run
	sealed, forged := aWord, aWord
	sealed.Endpoint, forged.Type = "acme/sealed", streams.Own+".nonsense"
	for i := range 2 * endpointBurst {
		c.Heard(eventAbout(t, aWord, fmt.Sprint("crm", i)), "crm")
		c.Heard(eventAbout(t, sealed, fmt.Sprint("sealed", i)), "sealed")
		c.Heard(eventAbout(t, forged, fmt.Sprint("forged", i)), "crm")
	}
	for _, says := range []string{"JETHOOK_SMTP_URL is not set", "not told in Slack", "not one that jethook wrote", "there is too much to tell"} {
		if strings.Count(log.String(), says) != 1 {
			t.Errorf("%q is not there once in %s", says, log)
		}
	}
}

// Whoever may publish can write as much as an event holds, and what is read is kept
// for a while.
func TestAWordIsNoLargerThanJethookWritesThem(t *testing.T) {
	endpoints, log := &directory{}, &lines{}
	endpoints.put(t, "acme", "crm", contact(endpoint.Contact{Slack: "https://hooks.example.com/CANARY"}))
	dead := aWord
	dead.Type, dead.Count, dead.Events, dead.Reasons = streams.DeliveryDead, 1_000_000, make([]Death, MaxDeaths), map[delivery.Reason]int{}
	for i := range dead.Events {
		dead.Events[i] = Death{EventID: strings.Repeat("i", 64), EventType: strings.Repeat("t", 4000), Reason: delivery.AttemptsExhausted, Attempts: 100, At: moment}
	}
	for _, reason := range delivery.Reasons() {
		dead.Reasons[reason] = 100_000
	}
	events, reasons, long := dead, dead, aWord
	events.Events = make([]Death, MaxDeaths+1)
	reasons.Reasons = maps.Clone(dead.Reasons)
	reasons.Reasons["another"] = 1
	long.Why = strings.Repeat("x", maxWord)
	for name, c := range map[string]struct {
		w    Word
		told int
	}{"as large as they come": {dead, 1}, "more events": {events, 0}, "more reasons": {reasons, 0}, "more text": {long, 0}} {
		courier := newCourier(CourierOptions{Endpoints: endpoints, HTTP: post(nil), Logger: zerolog.New(log)}) // that does not run
		courier.Heard(eventAbout(t, c.w, name), "crm")
		if len(courier.notes) != c.told {
			t.Errorf("%s: %d are told", name, len(courier.notes))
		}
	}
	if strings.Count(log.String(), "not one that jethook wrote") != 3 {
		t.Errorf("the log has %s", log)
	}
}

// A consumer that begins anew reads a week of words.
func TestOldWordsAreNotBrought(t *testing.T) {
	endpoints, log := &directory{}, &lines{}
	endpoints.put(t, "acme", "crm", contact(endpoint.Contact{Slack: "https://hooks.example.com/CANARY"}))
	results := 0
	c := NewCourier(CourierOptions{Endpoints: endpoints, HTTP: post(nil), Brought: func(string, string) { results++ }, Logger: zerolog.New(log)}) // that does not run
	for i := range 100 {
		e := eventAbout(t, aWord, fmt.Sprint(i))
		e.Time = time.Now().Add(-2 * oldNews)
		c.Heard(e, "crm")
	}
	c.Heard(eventAbout(t, aWord, "new"), "crm")
	if len(c.notes) != 1 || c.notes[0].event != "new" || results > 0 || log.String() != "" {
		t.Errorf("%d are brought, %d were not, and the log has %s", len(c.notes), results, log)
	}
}

func TestWhatIsNoWordIsNotBrought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		endpoints := &directory{}
		endpoints.put(t, "acme", "crm", contact(endpoint.Contact{Email: []string{"a@example.com"}, Slack: "https://hooks.example.com/CANARY"}))
		c := newCourier(CourierOptions{Endpoints: endpoints, HTTP: post(func(*http.Request) (egress.Response, error) {
			t.Error("it is brought")
			return egress.Response{}, nil
		}), Logger: zerolog.Nop()})
		begin(t, c)
		another, unknown, garbage, gone := aWord, aWord, eventAbout(t, aWord, "garbage"), aWord
		another.Endpoint, unknown.Type, garbage.Body, gone.Endpoint = "acme/other", streams.Own+".nonsense", []byte("{"), "acme/gone"
		c.Heard(eventAbout(t, another, "another"), "crm")
		c.Heard(eventAbout(t, unknown, "unknown"), "crm")
		c.Heard(garbage, "crm")
		c.Heard(eventAbout(t, gone, "gone"), "gone")
		endpoints.put(t, "acme", "crm", contact(endpoint.Contact{Slack: "sealed:v1:00000000:AAAA"}))
		c.Heard(eventAbout(t, aWord, "sealed"), "crm")
		synctest.Wait()
	})
}
