package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"jethook/streams"
)

// asked is what users asked of NATS servers, by user.
type asked struct {
	mu        sync.Mutex
	publish   map[string]map[string]bool
	subscribe map[string]map[string]bool
}

func newAsked() *asked {
	return &asked{publish: map[string]map[string]bool{}, subscribe: map[string]map[string]bool{}}
}

var (
	// trace is a line of a server that traces, about a user's message.
	trace = regexp.MustCompile(`- "\$G/user:(\w+)" - <<- \[(H?PUB|SUB) (\S+) `)
	// violation is a server's line about what it refused.
	violation = regexp.MustCompile(`- "\$G/user:(\w+)" - (?:Publish|Subscription) Violation - \w+ "([^"]+)"`)
)

// note takes in what a server traced, of which it must have refused nothing.
func (a *asked) note(t *testing.T, s *stage) {
	t.Helper()
	log := s.log.String()
	asks := 0
	for _, m := range violation.FindAllStringSubmatch(log, -1) {
		// That is how a replica finds out that it cannot serve ordered endpoints.
		if m[1] == "worker" && m[2] == "$JS.API.CONSUMER.CREATE.WEBHOOKS_EVENTS.ordered~jethook~jethook" {
			asks++
			continue
		}
		t.Errorf("%s was refused %s", m[1], m[2])
	}
	if strings.Contains(log, `"$G/user:worker"`) && asks == 0 {
		t.Error("no worker asked whether it may serve ordered endpoints: is this how a server says that it refuses?")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range trace.FindAllStringSubmatch(log, -1) {
		to := a.publish
		if m[2] == "SUB" {
			to = a.subscribe
		}
		if to[m[1]] == nil {
			to[m[1]] = map[string]bool{}
		}
		to[m[1]][m[3]] = true
	}
}

// awaits waits until a user has asked for something.
func (s *stage) awaits(t *testing.T, user, subject string) {
	t.Helper()
	line := regexp.MustCompile(fmt.Sprintf(`- "\$G/user:%s" - <<- \[H?PUB %s `, user, regexp.QuoteMeta(subject)))
	eventually(t, user+" asks for "+subject, func() error {
		if !line.MatchString(s.log.String()) {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

// like says which user's needs a user's are beside its own: the lines that both
// have are needed when that one used them.
var like = map[string]string{"operator": "reader", "ordered": "worker"}

// everything checks that every line of every role's permissions was used: without
// it, the server would have refused something.
func (a *asked) everything(t *testing.T) {
	t.Helper()
	names, err := streams.NewNames("")
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]streams.Permissions{}
	for user, role := range cast {
		o := streams.PermissionOptions{Ordered: user == "ordered"}
		if user == "acme" {
			o.Tenant = user
		}
		if lines[user], err = names.Permissions(streams.Role(role[0]), o); err != nil {
			t.Fatal(err)
		}
	}
	for user, p := range lines {
		other := lines[like[user]]
		unused(t, user, streams.Subjects(p.Publish), streams.Subjects(other.Publish), a.publish[user])
		unused(t, user, streams.Subjects(p.Subscribe), streams.Subjects(other.Subscribe), a.subscribe[user])
	}
}

// unused reports the lines but for which a user would have been allowed all that
// it asked for. Those that another user has as well are looked for there.
func unused(t *testing.T, user string, lines, others []string, asked map[string]bool) {
	t.Helper()
	for _, line := range lines {
		if slices.Contains(others, line) {
			continue
		}
		needed := false
		for subject := range asked {
			needed = needed || streams.Matches(line, subject) && !slices.ContainsFunc(lines, func(l string) bool {
				return l != line && streams.Matches(l, subject)
			})
		}
		if !needed {
			t.Errorf("%s needs no %s: of what it asked for, %s", user, line, near(line, asked))
		}
	}
}

func near(line string, asked map[string]bool) string {
	verb := strings.Join(strings.Split(line, ".")[:min(4, strings.Count(line, "."))], ".")
	var like []string
	for subject := range asked {
		if strings.HasPrefix(subject, verb) && len(like) < 3 {
			like = append(like, subject)
		}
	}
	return fmt.Sprintf("like it are %v", like)
}
