package hold

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/freeport"
	"jethook/streams"
)

// newCluster starts three servers and makes the topology with three replicas.
func newCluster(t testing.TB) (*world, []*server.Server) {
	t.Helper()
	var routes []*url.URL
	ports := make([]int, 3)
	for i := range ports {
		ports[i] = freeport.Get(t)
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", ports[i])})
	}
	servers := make([]*server.Server, 3)
	urls := make([]string, 3)
	for i := range servers {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("s%d", i), Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), Routes: routes,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers[i] = s
	}
	for i, s := range servers {
		if !s.ReadyForConnections(testTimeout) {
			t.Fatal("a server is not ready")
		}
		urls[i] = s.ClientURL()
	}
	// Before there is a leader, a request is not refused but never answered.
	led := func(s *server.Server) bool {
		return s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(servers)
	}
	until(t, "the cluster has a leader", func() bool { return slices.ContainsFunc(servers, led) })
	return worldAt(t, strings.Join(urls, ","), 3), servers
}

// tryAck acks a message, unless its leader changes: the ack that is lost then is
// never answered, and the message comes again.
func (w *world) tryAck(m jetstream.Msg) {
	w.Helper()
	ctx, cancel := w.soon()
	defer cancel()
	if err := m.DoubleAck(ctx); err != nil {
		w.Log(err)
	}
}

// In a cluster, a feed outlives the server that leads it: everything comes, in
// order but for what comes again, and nothing else does. What was handed out and
// not heard of comes when its AckWait is over, and after the leader's death so may
// what was acked.
func TestFeedInACluster(t *testing.T) {
	w, servers := newCluster(t)
	want := w.mixed(20)
	began := time.Now()
	var f *Feed
	var got []jetstream.Msg
	w.until("the first are fetched", func() bool {
		ctx, cancel := w.soon()
		defer cancel()
		var err error
		if f, err = w.store.Feed(ctx, "acme", "crm"); err == nil {
			got, err = f.Fetch(w.ctx, 5, 30*time.Second)
		}
		if err != nil {
			t.Log(err)
			ctx, cancel := w.soon() // the first may be over by now
			defer cancel()
			_ = w.js.DeleteConsumer(ctx, w.names.Deliveries(), streams.FeedOf("acme", "crm")) // a new one begins with the first
		}
		return err == nil
	})
	t.Logf("opening the feed and fetching the first took %s", time.Since(began))
	if seqs := w.seqsOf(got); len(seqs) == 0 || !slices.Equal(seqs, want[:len(seqs)]) {
		t.Errorf("first it feeds back %v, want the first of %v", seqs, want)
	}
	for _, m := range got {
		w.tryAck(m)
	}
	leader := ""
	w.until("the feed has a leader", func() bool {
		ctx, cancel := w.soon()
		defer cancel()
		info, err := f.consumer.Info(ctx)
		if err == nil && info.Cluster != nil {
			leader = info.Cluster.Leader
		}
		return leader != ""
	})
	i := slices.IndexFunc(servers, func(s *server.Server) bool { return s.Name() == leader })
	servers[i].Shutdown()
	servers[i].WaitForShutdown()
	began = time.Now()
	fed := map[uint64]bool{}
	for _, seq := range w.seqsOf(got) {
		fed[seq] = true
	}
	w.until("everything was fed back and is removed", func() bool {
		more, err := f.Fetch(w.ctx, 100, 200*time.Millisecond)
		if err != nil {
			t.Logf("after %s: %v", time.Since(began), err)
		}
		var fresh []uint64
		for _, m := range more {
			meta, err := m.Metadata()
			w.must(err)
			if meta.NumDelivered == 1 {
				fresh = append(fresh, meta.Sequence.Stream)
			}
			fed[meta.Sequence.Stream] = true
			w.tryAck(m)
		}
		if !slices.IsSorted(fresh) {
			t.Errorf("%v came in one fetch", fresh)
		}
		ctx, cancel := w.soon()
		defer cancel()
		held, err := w.store.Of(ctx, "acme", "crm")
		return err == nil && held == Waiting{}
	})
	t.Logf("going on took %s", time.Since(began))
	if seqs := slices.Sorted(maps.Keys(fed)); !slices.Equal(seqs, want) {
		t.Errorf("fed back %v, want %v", seqs, want)
	}
	began = time.Now()
	tries := 0
	w.until("the feed is finished", func() bool {
		tries++
		ctx, cancel := w.soon()
		defer cancel()
		done, err := f.Finish(ctx)
		if err != nil {
			t.Log(err)
		}
		return done || errors.Is(err, ErrFeedGone) // that it was done may not have been heard
	})
	t.Logf("finishing took %s, %d tries", time.Since(began), tries)
	seq := w.hold(given("acme/crm", "a"), streams.HeldNew)
	began = time.Now()
	w.until("it opens again", func() bool {
		ctx, cancel := w.soon()
		defer cancel()
		f, err := w.store.Feed(ctx, "acme", "crm")
		if err != nil {
			t.Log(err)
			return false
		}
		got, err := f.Fetch(w.ctx, 1, time.Second)
		return err == nil && len(got) == 1 && w.seqsOf(got)[0] == seq
	})
	t.Logf("opening it again took %s", time.Since(began))
}
