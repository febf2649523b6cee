package streams

// worker grants what a replica does. Without ordered, the consumers of events
// are those that a provisioner made. With it, the replica makes them for ordered
// endpoints and lanes, and could make them for itself: one that sends what it
// reads to a subject does so with the rights of the server.
func (g *grants) worker(ordered bool) {
	events, deliveries := g.Events(), g.Deliveries()
	fanout := Fanout
	if ordered {
		fanout = "*"
	}
	g.look()
	g.allow("look at consumers", api("CONSUMER.INFO", events, "*"), api("CONSUMER.INFO", deliveries, "*"),
		api("CONSUMER.NAMES", events), api("CONSUMER.NAMES", deliveries))
	g.allow("fetch events and deliveries", api("CONSUMER.MSG.NEXT", events, fanout), api("CONSUMER.MSG.NEXT", deliveries, "*"))
	g.allow("acknowledge, hand back and keep them", append(replies("ACK", events, fanout), replies("ACK", deliveries, "*")...)...)
	g.allow("store what comes of them",
		g.namespace+".deliveries.>", g.namespace+".scheduled.>", g.AllHeld(), g.namespace+".dlq.>")
	g.allow("log attempts", g.namespace+".attempts.>", g.namespace+".ledger.>")
	g.allow("add up what became of deliveries", api("DIRECT.GET", g.Attempts()), api("CONSUMER.LIST", events))
	g.allow("read the body of an event that is too large for its delivery", api("DIRECT.GET", events))
	g.allow("feed back what is held",
		api("CONSUMER.CREATE", deliveries, "*", g.namespace, "held", ">"),
		api("CONSUMER.PAUSE", deliveries, "*"), api("CONSUMER.DELETE", deliveries, "*"))
	g.allow("read and remove what is held", api("DIRECT.GET", deliveries), api("STREAM.MSG.GET", deliveries),
		api("STREAM.MSG.DELETE", deliveries), api("STREAM.PURGE", deliveries))
	g.allow("look at how full the account is", "$JS.API.INFO")
	g.follow("endpoints and lanes", g.EndpointsBucket())
	g.allow("disable endpoints, end lanes, apply the endpoints file", last(g.EndpointsBucket()), "$KV."+g.EndpointsBucket()+".>")
	g.follow("gates", g.GatesBucket())
	g.allow("open and close gates, make their bucket again that somebody deleted",
		last(g.GatesBucket()), "$KV."+g.GatesBucket()+".>", api("STREAM.CREATE", "KV_"+g.GatesBucket()))
	g.allow("tell an endpoint's owner what happens to it", g.ownEvents("*")[1])
	g.allow("remember what owners were told", last(g.WordsBucket()), "$KV."+g.WordsBucket()+".>")
	g.follow("the other replicas", g.ReplicasBucket())
	// A single server keeps that bucket in memory and forgets it when it restarts.
	g.allow("be known to the other replicas", "$KV."+g.ReplicasBucket()+".>", api("STREAM.CREATE", "KV_"+g.ReplicasBucket()))
	if ordered {
		g.allow("make and end the consumers of ordered endpoints and lanes",
			api("CONSUMER.CREATE", events, "*"), api("CONSUMER.DELETE", events, "*"),
			api("CONSUMER.CREATE", deliveries, "*", g.namespace, "deliveries", ">"))
		g.allow("move what lies in a lane that is gone", api("CONSUMER.CREATE", deliveries, "*"))
	}
}

// reader grants what the commands need that only show something.
func (g *grants) reader() {
	events, deliveries, dead := g.Events(), g.Deliveries(), g.DeadLetters()
	g.look()
	g.allow("look at consumers", api("CONSUMER.INFO", events, "*"), api("CONSUMER.INFO", deliveries, "*"), api("CONSUMER.LIST", events))
	g.follow("endpoints and lanes", g.EndpointsBucket())
	g.allow("read an endpoint", last(g.EndpointsBucket()))
	g.follow("gates", g.GatesBucket())
	g.follow("replicas", g.ReplicasBucket())
	g.allow("see since when something is held", api("STREAM.MSG.GET", deliveries))
	g.allow("list dead letters",
		api("CONSUMER.CREATE", dead, "*", g.namespace, "dlq", ">"),
		api("CONSUMER.MSG.NEXT", dead, "*"), api("CONSUMER.DELETE", dead, "*"))
	g.allow("show a dead letter, the body of which may be in the event only", api("DIRECT.GET", dead), api("DIRECT.GET", events))
	g.allow("read the attempt log", api("DIRECT.GET", g.Attempts()))
	g.allow("find where a delivery waits", api("DIRECT.GET", deliveries))
}

// operator grants what the commands need that change something, beside what a
// reader has.
func (g *grants) operator() {
	deliveries, dead := g.Deliveries(), g.DeadLetters()
	g.allow("change endpoints and lanes", "$KV."+g.EndpointsBucket()+".>")
	g.allow("tell an endpoint's owner that its secret was rotated", g.events+"*."+SecretRotated)
	g.allow("store dead letters as deliveries", g.namespace+".deliveries.>", g.ReplayMark("*"))
	g.allow("remove the mark of a replay that is finished", api("STREAM.MSG.DELETE", deliveries))
	g.allow("remove dead letters", api("STREAM.MSG.DELETE", dead), api("STREAM.MSG.GET", dead), api("STREAM.PURGE", dead))
	g.allow("discard what waits for an endpoint that is removed", api("STREAM.PURGE", deliveries), g.Ledger("0"))
}

// provisioner grants what `jethook streams apply` does, to what jethook defines
// and to nothing else.
func (g *grants) provisioner() {
	g.look()
	var streams, looks, consumers []string
	for _, s := range g.topology.Streams {
		streams = append(streams, api("STREAM.CREATE", s.Name), api("STREAM.UPDATE", s.Name))
	}
	for _, c := range g.topology.Consumers {
		looks = append(looks, api("CONSUMER.INFO", c.Stream, c.Config.Durable))
		consumers = append(consumers, api("CONSUMER.CREATE", c.Stream, c.Config.Durable, c.Config.FilterSubject))
	}
	g.allow("look at consumers", looks...)
	g.allow("make and update streams and buckets", streams...)
	g.allow("make and update consumers", consumers...)
}
