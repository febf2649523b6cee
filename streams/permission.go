package streams

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Role is what a user of NATS does for jethook.
type Role string

// The roles. Each may do what it must and nothing else, as long as nobody is
// hostile: a server answers on whatever reply subject it is given, with rights of its
// own. Who is not trusted belongs in another account.
const (
	// Producer publishes events and reads nothing but its acknowledgements.
	Producer Role = "producer"
	// Worker is a replica.
	Worker Role = "worker"
	// Reader looks at endpoints, dead letters, lanes and streams.
	Reader Role = "reader"
	// Operator reads, changes endpoints and lanes, and replays.
	Operator Role = "operator"
	// Provisioner makes and updates streams, consumers and buckets.
	Provisioner Role = "provisioner"
)

// Roles returns all roles, in the order in which people meet them.
func Roles() []Role { return []Role{Producer, Worker, Reader, Operator, Provisioner} }

// PermissionOptions say which of a role's permissions are meant.
type PermissionOptions struct {
	Tenant  string // whose events a producer publishes; empty is everybody's
	Ordered bool   // a worker serves ordered endpoints and lanes too
}

// Permissions are all that a user of a role may publish and subscribe to.
type Permissions struct {
	Role Role
	// Inbox is the prefix of the subjects on which the user is answered, which it
	// has to connect with. Nobody else may listen there.
	Inbox     string
	Publish   []Grant
	Subscribe []Grant
	// Deny is what the user may not publish to although Publish has it.
	Deny []Grant
}

// Grant is what serves one purpose.
type Grant struct {
	Purpose  string
	Subjects []string // in order
}

// Permissions returns what a role needs. No two grants have a subject in common.
func (n Names) Permissions(role Role, o PermissionOptions) (Permissions, error) {
	if o.Tenant != "" && role != Producer {
		return Permissions{}, fmt.Errorf("a tenant is a %s's, not a %s's", Producer, role)
	}
	if o.Ordered && role != Worker {
		return Permissions{}, fmt.Errorf("only a %s serves ordered endpoints and lanes, not a %s", Worker, role)
	}
	t, err := NewTopology(Options{Names: n})
	if err != nil {
		return Permissions{}, err
	}
	g := grants{Names: n, topology: t}
	var deny []Grant
	inbox := "_INBOX_" + string(role) + "." + n.namespace
	switch role {
	case Producer:
		tenant, of := "", "*"
		if o.Tenant != "" {
			if err := CheckName(o.Tenant); err != nil {
				return Permissions{}, fmt.Errorf("tenant %q: %w", o.Tenant, err)
			}
			tenant, of = o.Tenant+".", o.Tenant
			inbox += "." + o.Tenant
		}
		g.allow("publish events", n.events+tenant+">")
		// What endpoints are told in jethook's name must be jethook's.
		deny = []Grant{{"publish jethook's own events", n.ownEvents(of)}}
	case Worker:
		g.worker(o.Ordered)
	case Reader:
		g.reader()
	case Operator:
		g.reader()
		g.operator()
	case Provisioner:
		g.provisioner()
	default:
		return Permissions{}, fmt.Errorf("%w: there is no role %q", errRole, role)
	}
	return Permissions{
		Role: role, Inbox: inbox, Publish: g.all, Deny: deny,
		Subscribe: []Grant{{Purpose: "answers to what this user asks", Subjects: []string{inbox + ".>"}}},
	}, nil
}

var errRole = errors.New("choose one of producer, worker, reader, operator, provisioner")

// Subjects returns the subjects of grants in one list, in order.
func Subjects(grants []Grant) []string {
	var all []string
	for _, g := range grants {
		all = append(all, g.Subjects...)
	}
	slices.Sort(all)
	return all
}

// grants collects what a role may publish to: JetStream is asked by publishing.
type grants struct {
	Names
	topology Topology
	all      []Grant
}

func (g *grants) allow(purpose string, subjects ...string) {
	slices.Sort(subjects)
	g.all = append(g.all, Grant{purpose, subjects})
}

// api returns the subject of a request about a stream, a consumer or more.
func api(verb string, tokens ...string) string {
	return "$JS.API." + verb + "." + strings.Join(tokens, ".")
}

// replies returns the subjects on which a client answers what a consumer sends,
// in the form of today and in the one that names domain and account, which a
// server's feature flag js_ack_fc_v2 switches on.
func replies(kind, stream, consumer string) []string {
	return []string{
		"$JS." + kind + "." + stream + "." + consumer + ".>",
		"$JS." + kind + ".*.*." + stream + "." + consumer + ".>",
	}
}

// follow grants what watching a bucket takes: a consumer that sends what the
// bucket holds to the user's inbox, and the answers to its flow control.
func (g *grants) follow(what, bucket string) {
	stream := "KV_" + bucket
	g.allow("follow "+what, append(replies("FC", stream, "*"),
		api("CONSUMER.CREATE", stream, "*", "$KV", bucket, ">"),
		api("CONSUMER.DELETE", stream, "*"))...)
}

// last is the subject on which the last value of a bucket's key is asked for.
func last(bucket string) string { return api("DIRECT.GET", "KV_"+bucket, "$KV", bucket, ">") }

// look grants a look at every stream: whether it is there, how it is configured
// and how much it holds.
func (g *grants) look() {
	var subjects []string
	for _, s := range g.topology.Streams {
		subjects = append(subjects, api("STREAM.INFO", s.Name))
	}
	g.allow("look at streams and buckets", subjects...)
}
