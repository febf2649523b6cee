package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"jethook/pkg/secret"
)

const (
	oldKey   = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	newKey   = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
	otherKey = "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8="
)

func ringOf(t testing.TB, keys ...string) *secret.Ring {
	t.Helper()
	ring, err := secret.ParseRing(strings.Join(keys, ","))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// sealingBucket is a bucket in which secrets are sealed with oldKey, as a replica
// began it.
type sealingBucket struct {
	t  *testing.T
	js jetstream.JetStream
	kv jetstream.KeyValue
}

func newSealingBucket(t *testing.T) *sealingBucket {
	t.Helper()
	b := &sealingBucket{t: t}
	b.js, b.kv = newJetStream(t)
	b.announce(b.store(oldKey))
	return b
}

// store returns a store with these master keys; without any it is a client's.
func (b *sealingBucket) store(keys ...string) *Store {
	b.t.Helper()
	var ring *secret.Ring
	if len(keys) > 0 {
		ring = ringOf(b.t, keys...)
	}
	return NewStore(b.kv, Sealing(b.js, ring))
}

func (b *sealingBucket) announce(s *Store) {
	b.t.Helper()
	if err := s.Announce(testContext(b.t), false); err != nil {
		b.t.Fatal(err)
	}
}

// bytes returns all that the bucket's stream holds, earlier revisions too.
func (b *sealingBucket) bytes() string {
	b.t.Helper()
	ctx := testContext(b.t)
	stream, err := b.js.Stream(ctx, "KV_"+testBucket)
	if err != nil {
		b.t.Fatal(err)
	}
	var all bytes.Buffer
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			b.t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s %v %s\n", m.Subject, m.Header, m.Data)
	}
	return all.String()
}

// holdsNothingPlain fails the test if a part of a secret can be read in the bucket.
func (b *sealingBucket) holdsNothingPlain(when string, more ...secret.Secret) {
	b.t.Helper()
	parts := canaries(b.t)
	for _, s := range more {
		parts = append(parts, s.Reveal()[len("whsec_"):])
	}
	all := b.bytes()
	if !strings.Contains(all, "sealed:v1:") {
		b.t.Errorf("%s: nothing is sealed in the bucket", when)
	}
	for _, part := range parts {
		if strings.Contains(all, part) {
			b.t.Errorf("%s: the bucket holds %q", when, part)
		}
	}
}

func (b *sealingBucket) get(s *Store, name string) Document {
	b.t.Helper()
	d, err := s.Get(testContext(b.t), name)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// inForce waits until the registry has taken in all that there is.
func (b *sealingBucket) inForce(r *Registry) {
	b.t.Helper()
	state, err := r.state(testContext(b.t))
	if err != nil {
		b.t.Fatal(err)
	}
	await(b.t, r, "it has caught up", func() bool { return r.Revision() >= state.revision })
}

// stored returns the document as the bucket holds it.
func (b *sealingBucket) stored(name string) Document {
	b.t.Helper()
	entry, err := b.kv.Get(testContext(b.t), strings.Replace(name, "/", ".", 1))
	if err != nil {
		b.t.Fatal(err)
	}
	d, err := decodeEntry(entry.Key(), entry.Value())
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// texts returns a document's secrets by what they are about.
func texts(d Document) map[string]string {
	all := map[string]string{}
	i := 0
	for about, s := range d.eachSecret() {
		if strings.HasSuffix(about, " secrets") {
			about = fmt.Sprint(about, i)
			i++
		}
		all[about] = s.Reveal()
	}
	return all
}

func sealedTexts(d Document) map[string]string {
	all := texts(d)
	for about, text := range all {
		if !secret.Secret(text).Sealed() {
			delete(all, about)
		}
	}
	return all
}

// Every kind of secret lies sealed in the bucket, each as another text, and comes
// back for who has the key and for nobody else.
func TestEveryKindOfSecretIsSealed(t *testing.T) {
	b := newSealingBucket(t)
	for _, auth := range authKinds {
		d := withCredentials(t, testDocument(), auth)
		d.ID = auth
		d.Secrets[1].ExpiresAt = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		if applied := apply(t, b.store(), d); applied.Result != Created || applied.Plain {
			t.Errorf("%s: %+v", auth, applied)
		}
		sealed := sealedTexts(b.stored(d.Name()))
		if len(sealed) != 9 || len(texts(d)) != 9 {
			t.Errorf("%s: %d of %d secrets are sealed, want all 9", auth, len(sealed), len(texts(d)))
		}
		if got := b.get(b.store(oldKey), d.Name()); !reflect.DeepEqual(got, d) {
			t.Errorf("%s: opened it is %s\nwant %s", auth, mustEncode(t, got), mustEncode(t, d))
		}
		for who, s := range map[string]*Store{"no keys": b.store(), "another key": b.store(otherKey)} {
			if got := sealedTexts(b.get(s, d.Name())); !reflect.DeepEqual(got, sealed) {
				t.Errorf("%s: with %s it is opened", auth, who)
			}
		}
		e, err := compile(b.stored(d.Name()), &opener{ring: ringOf(t, newKey, oldKey)})
		if err != nil {
			t.Fatal(err)
		}
		p := parsed(t, e)
		if p.Header.Get("X-Api-Key") != "CANARY-HEADER" || len(p.Keys(time.Now())) != 2 || !reflect.DeepEqual(p.Auth, d.Auth) ||
			!reflect.DeepEqual(p.TLS, d.TLS) || !reflect.DeepEqual(p.Contact, d.Contact) || !reflect.DeepEqual(p.ExtraSignatures, d.ExtraSignatures) {
			t.Errorf("%s: requests would be made of %+v", auth, p)
		}
	}
	b.holdsNothingPlain("after apply")
	documents, broken, err := b.store(oldKey).List(testContext(t))
	if err != nil || len(documents) != 3 || len(broken) != 0 || len(sealedTexts(documents[0])) != 9 {
		t.Errorf("List: %d documents, %v, %v; want them sealed", len(documents), broken, err)
	}
}

// A file of a key is the replica's, and no secret.
func TestReferenceToAFileStays(t *testing.T) {
	b := newSealingBucket(t)
	d := testDocument()
	d.TLS = &TLS{Cert: "file:/run/cert.pem", Key: "file:/run/key.pem", CA: "file:ca.pem"}
	apply(t, b.store(oldKey), d)
	if got := b.stored(d.Name()).TLS; !reflect.DeepEqual(got, d.TLS) {
		t.Errorf("stored is %+v", got)
	}
	if shown, err := json.Marshal(d); err != nil || !strings.Contains(string(shown), "file:/run/key.pem") {
		t.Errorf("shown is %s, %v", shown, err)
	}
}

// A client without keys can do all there is to do: what is sealed stays as it is,
// and what it adds is sealed.
func TestAClientWithoutKeysChangesNoSecret(t *testing.T) {
	b := newSealingBucket(t)
	client, ctx := b.store(), testContext(t)
	d := withCredentials(t, testDocument(), "basic")
	d.Secrets = nil
	made := apply(t, client, d).NewSecret
	b.holdsNothingPlain("after apply", made)
	before := sealedTexts(b.stored("acme/crm"))

	if _, err := client.Update(ctx, "acme/crm", func(d *Document) error { d.Paused = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if got := sealedTexts(b.stored("acme/crm")); !reflect.DeepEqual(got, before) || !b.stored("acme/crm").Paused {
		t.Error("pausing it changed its secrets")
	}
	if same, err := client.Update(ctx, "acme/crm", func(*Document) error { return nil }); err != nil || !same.Paused {
		t.Error(err)
	}
	rotated, err := client.RotateSecret(ctx, "acme/crm", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got := b.stored("acme/crm")
	if len(got.Secrets) != 2 || got.Secrets[1].Secret.Reveal() != before["acme/crm secrets0"] || got.Secrets[1].ExpiresAt.IsZero() {
		t.Error("the rotated secret is not the one that was sealed, with an end")
	}
	b.holdsNothingPlain("after rotate", made, rotated)
	opened := b.get(b.store(oldKey), "acme/crm")
	if opened.Secrets[0].Secret != rotated || opened.Secrets[1].Secret != made {
		t.Error("the new secret and the old one do not come back")
	}
	d.Description = "changed"
	apply(t, client, d)
	if got := b.get(b.store(oldKey), "acme/crm"); !slices.Equal(got.Secrets, opened.Secrets) || got.Description != "changed" {
		t.Error("applying it anew changed its signing secrets")
	}
	b.holdsNothingPlain("after it was applied anew", made, rotated)
	if err := client.Remove(ctx, "acme/crm"); err != nil {
		t.Error(err)
	}
}

func TestUnchangedIsReportedWhereItCanBe(t *testing.T) {
	b := newSealingBucket(t)
	d := withCredentials(t, testDocument(), "oauth2")
	apply(t, b.store(), d)
	revision := apply(t, b.store(oldKey), d).Revision
	for range 2 {
		if applied := apply(t, b.store(newKey, oldKey), d); applied.Result != Unchanged || applied.Revision != revision {
			t.Errorf("with keys: %+v", applied)
		}
	}
	if applied := apply(t, b.store(), d); applied.Result != Updated {
		t.Errorf("without keys: %+v; nobody can know", applied)
	}
	own := testDocument()
	own.ID = "own"
	apply(t, b.store(), own)
	if applied := apply(t, b.store(), own); applied.Result != Unchanged {
		t.Errorf("with a secret that jethook made: %+v", applied)
	}
	d.Auth.OAuth2.ClientSecret += "2"
	if applied := apply(t, b.store(oldKey), d); applied.Result != Updated {
		t.Errorf("with another secret: %+v", applied)
	}
}

// Ciphertexts are bound to endpoint and field: moved, they do not open.
func TestSwappedSecretsDoNotOpen(t *testing.T) {
	b := newSealingBucket(t)
	for _, id := range []string{"one", "two"} {
		d := withCredentials(t, testDocument(), "bearer")
		d.ID = id
		apply(t, b.store(), d)
	}
	one, two := b.stored("acme/one"), b.stored("acme/two")
	for name, swap := range map[string]func(*Document){
		"secrets of another endpoint":    func(d *Document) { d.Secrets = two.Secrets },
		"bearer of another endpoint":     func(d *Document) { d.Auth.Bearer = two.Auth.Bearer },
		"header of another endpoint":     func(d *Document) { d.Headers["x-api-KEY"] = two.Headers["x-api-KEY"] },
		"key of another endpoint":        func(d *Document) { d.TLS.Key = two.TLS.Key },
		"bearer as header":               func(d *Document) { d.Headers["x-api-KEY"] = d.Auth.Bearer.Reveal() },
		"header under another name":      func(d *Document) { d.Headers = map[string]string{"X-Token": d.Headers["x-api-KEY"]} },
		"key as bearer":                  func(d *Document) { d.Auth.Bearer = d.TLS.Key },
		"signing secret as bearer":       func(d *Document) { d.Auth.Bearer = d.Secrets[0].Secret },
		"bearer as Slack's":              func(d *Document) { d.Contact.Slack = d.Auth.Bearer },
		"bearer as basic":                func(d *Document) { d.Auth = &Auth{Basic: &BasicAuth{User: "u", Password: d.Auth.Bearer}} },
		"extra signature of another one": func(d *Document) { d.ExtraSignatures[0].Secret = d.ExtraSignatures[1].Secret },
		"truncated":                      func(d *Document) { d.Auth.Bearer = d.Auth.Bearer[:len(d.Auth.Bearer)-4] },
	} {
		d := one.clone()
		swap(&d)
		if _, err := open(ringOf(t, oldKey), d); !errors.Is(err, secret.ErrDamaged) {
			t.Errorf("%s: got %v", name, err)
		}
		var log bytes.Buffer
		e, err := compile(d, &opener{ringOf(t, oldKey), zerolog.New(&log)})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time nobody tries, nor says so again
			if _, err := e.Parsed(); !errors.Is(err, ErrLocked) {
				t.Errorf("%s: Parsed: %v", name, err)
			}
		}
		if reason, unavailable := e.Unavailable(); !unavailable || reason != ReasonLocked {
			t.Errorf("%s: it is available: %q", name, reason)
		}
		if n := strings.Count(log.String(), `"endpoint":"acme/one"`); n != 1 || strings.Contains(log.String(), "CANARY") {
			t.Errorf("%s: said %d times: %s", name, n, log.String())
		}
	}
	// Their order is no use to anybody: rotation changes it.
	slices.Reverse(one.Secrets)
	if _, err := open(ringOf(t, oldKey), one); err != nil {
		t.Error(err)
	}
}

func TestDamagedSecretsAreTold(t *testing.T) {
	b := newSealingBucket(t)
	s, ctx := b.store(oldKey), testContext(t)
	d := testDocument()
	apply(t, s, d)
	other := testDocument()
	other.ID = "other"
	apply(t, s, other)
	moved := b.stored("acme/crm")
	moved.Secrets = b.stored("acme/other").Secrets
	put(t, b.kv, "acme.crm", string(mustEncode(t, moved)))

	var broken *BrokenError
	if _, err := s.Get(ctx, "acme/crm"); !errors.As(err, &broken) || !errors.Is(err, secret.ErrDamaged) {
		t.Errorf("Get: %v", err)
	}
	if _, err := s.Apply(ctx, d); err == nil || !strings.Contains(err.Error(), "with its secrets in the document") {
		t.Errorf("Apply: %v", err)
	}
	if _, err := s.Update(ctx, "acme/crm", func(d *Document) error { d.Paused = true; return nil }); err != nil {
		t.Errorf("it cannot be paused: %v", err)
	}
	d.Secrets = secrets(testSecret2)
	if applied := apply(t, s, d); applied.Result != Updated {
		t.Errorf("Apply: %+v", applied)
	}
	if got := b.get(s, "acme/crm").Secrets; !slices.Equal(got, d.Secrets) {
		t.Error("the new secrets are not there")
	}
}

// What can be saved of a broken document stays sealed on the way.
func TestABrokenDocumentKeepsSealedSecrets(t *testing.T) {
	b := newSealingBucket(t)
	d := testDocument()
	made := apply(t, b.store(), d).NewSecret
	before := b.stored("acme/crm").Secrets
	put(t, b.kv, "acme.crm", strings.Replace(string(mustEncode(t, b.stored("acme/crm"))), `"lane"`, `"line"`, 1))
	if applied := apply(t, b.store(), d); applied.Result != Updated || applied.NewSecret != "" {
		t.Errorf("got %+v", applied)
	}
	if got := b.stored("acme/crm").Secrets; !slices.Equal(got, before) {
		t.Error("they are not what they were")
	}
	if got := b.get(b.store(oldKey), "acme/crm").Secrets; !slices.Equal(got, secrets(made)) {
		t.Error("they do not open any more")
	}
	b.holdsNothingPlain("after it was repaired", made)
}

// Master keys are changed while replicas go on: the new one is announced, the old
// one opens until all is sealed anew, and then is needed no more.
func TestRotationOfMasterKeys(t *testing.T) {
	b := newSealingBucket(t)
	ctx := testContext(t)
	want := map[string]Document{}
	for i, auth := range authKinds {
		d := withCredentials(t, testDocument(), auth)
		d.ID = fmt.Sprintf("e%d", i)
		apply(t, b.store(), d)
		want[d.Name()] = d
	}
	r := startRegistry(t, b.kv, &syncBuffer{}, Opening(ringOf(t, newKey, oldKey)))
	both := b.store(newKey, oldKey)
	b.announce(both)
	b.announce(both) // again, which changes nothing

	added := testDocument()
	added.ID = "added"
	added.Secrets = secrets(testSecret2)
	apply(t, b.store(), added) // sealed with the new one already
	want[added.Name()] = added
	old, err := both.Old(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.store().Rewrap(ctx, old); !errors.Is(err, errNotOpen) || !strings.Contains(err.Error(), "JETHOOK_MASTER_KEYS") {
		t.Errorf("without keys: %v", err)
	}
	if n, err := both.Rewrap(ctx, old); n != 3 || err != nil {
		t.Errorf("%d endpoints were sealed anew, %v; want 3", n, err)
	}
	if n, err := both.Rewrap(ctx, old); n != 0 || err != nil {
		t.Errorf("again: %d endpoints, %v", n, err)
	}
	if strings.Contains(b.bytes(), "sealed:v1:"+ringOf(t, oldKey).Sealer().ID()) {
		t.Error("the bucket still holds what is sealed with the old key")
	}
	b.holdsNothingPlain("after rewrap")
	only := b.store(newKey)
	b.announce(only)
	for name, d := range want {
		if got := b.get(only, name); !reflect.DeepEqual(got, d) {
			t.Errorf("with the new key alone %s is %s", name, mustEncode(t, got))
		}
		tenant, id, _ := strings.Cut(name, "/")
		b.inForce(r)
		if p := parsed(t, r.Get(tenant, id)); len(p.Keys(time.Now())) != len(d.Secrets) {
			t.Errorf("%s: the registry has %d keys", name, len(p.Keys(time.Now())))
		}
	}
	if err := b.store(oldKey).Announce(ctx, false); !errors.Is(err, ErrSealedByOthers) || !strings.Contains(err.Error(), "add it to JETHOOK_MASTER_KEYS") {
		t.Errorf("a replica with the old key alone: %v", err)
	}
}

// What was stored before there was a key is sealed once there is, and what lay there
// plain is gone, in earlier revisions too.
func TestPlainDocumentsAreSealed(t *testing.T) {
	b := &sealingBucket{t: t}
	b.js, b.kv = newJetStream(t)
	ctx := testContext(t)
	d := withCredentials(t, testDocument(), "bearer")
	if applied := apply(t, b.store(), d); !applied.Plain {
		t.Error("it was not said that secrets are stored as they are")
	}
	if applied := apply(t, b.store(), d); applied.Result != Unchanged || !applied.Plain {
		t.Errorf("unchanged: %+v", applied)
	}
	if _, err := b.store().Old(ctx); err == nil || !strings.Contains(err.Error(), "no replica has announced") {
		t.Errorf("Old: %v", err)
	}
	unsigned := testDocument()
	unsigned.ID, unsigned.Signing = "unsigned", SigningNone
	if applied := apply(t, b.store(), unsigned); applied.Plain {
		t.Error("there is no secret in it")
	}
	late := d.clone()
	late.ID = "late"
	apply(t, b.store(), late)
	s := b.store(oldKey)
	b.announce(s)
	// Sealed by a client before the replica comes to it: only its history is plain.
	late.Auth.Bearer, late.Paused = "another", true
	apply(t, b.store(), late)
	if n, err := s.Rewrap(ctx, Plain); n != 2 || err != nil {
		t.Errorf("%d documents were sealed, %v; want 2", n, err)
	}
	b.holdsNothingPlain("after the start")
	if got := b.get(s, "acme/crm"); !reflect.DeepEqual(got, d) {
		t.Errorf("it is now %s", mustEncode(t, got))
	}
	if n, err := s.Rewrap(ctx, Plain); n != 0 || err != nil {
		t.Errorf("again: %d documents, %v", n, err)
	}
}

// Earlier versions sealed a header only if its name gave it away. What they stored
// can be read, and the rest of it is sealed at the next start.
func TestHeadersOfEarlierVersionsAreSealed(t *testing.T) {
	b := newSealingBucket(t)
	d := withCredentials(t, testDocument(), "bearer")
	earlier, err := seal(ringOf(t, oldKey).Sealer(), d)
	if err != nil {
		t.Fatal(err)
	}
	earlier.Headers["X-Env"] = d.Headers["X-Env"]
	put(t, b.kv, "acme.crm", string(mustEncode(t, earlier)))
	s := b.store(oldKey)
	if got := b.get(s, d.Name()); !reflect.DeepEqual(got, d) {
		t.Errorf("opened it is %s", mustEncode(t, got))
	}
	if n, err := s.Rewrap(testContext(t), Plain); n != 1 || err != nil {
		t.Errorf("%d documents were sealed, %v; want 1", n, err)
	}
	b.holdsNothingPlain("after the start")
	if got := b.get(s, d.Name()); !reflect.DeepEqual(got, d) {
		t.Errorf("sealed and opened it is %s", mustEncode(t, got))
	}
}

// One document that cannot be sealed keeps no other from it.
func TestRewrapGoesOn(t *testing.T) {
	b := newSealingBucket(t)
	ctx := testContext(t)
	for _, id := range []string{"a", "c", "e"} {
		d := testDocument()
		d.ID, d.Secrets = id, secrets(testSecret)
		apply(t, b.store(), d)
	}
	foreign := testDocument()
	foreign.ID, foreign.Secrets = "b", secrets(testSecret)
	foreign, err := seal(ringOf(t, otherKey).Sealer(), foreign)
	if err != nil {
		t.Fatal(err)
	}
	foreign.Auth = &Auth{Bearer: "CANARY"}
	put(t, b.kv, "acme.b", string(mustEncode(t, foreign)))
	put(t, b.kv, "acme.d", `{"secrets":["`+testSecret+`"]}`)
	both := b.store(newKey, oldKey)
	b.announce(both)
	old, err := both.Old(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n, err := both.Rewrap(ctx, old)
	if n != 3 || err == nil || !strings.Contains(err.Error(), "2 endpoints, of which this is the first") || !strings.Contains(err.Error(), "acme/b") {
		t.Errorf("%d, %v", n, err)
	}
	// To seal what is plain, nobody needs the key of what is not.
	if n, err := both.Rewrap(ctx, Plain); n != 1 || err == nil || strings.Contains(err.Error(), "acme/b") {
		t.Errorf("%d, %v", n, err)
	}
	if got := b.stored("acme/b"); !got.Auth.Bearer.Sealed() || got.Secrets[0] != foreign.Secrets[0] {
		t.Error("what was plain in it is not sealed, or what was sealed is not as it was")
	}
}

// Documents are changed while they are sealed anew, and no change is lost.
func TestRewrapBesideChanges(t *testing.T) {
	b := newSealingBucket(t)
	ctx := testContext(t)
	d := testDocument()
	d.RetryOn = []int{}
	made := apply(t, b.store(), d).NewSecret
	both := b.store(newKey, oldKey)
	b.announce(both)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 30 {
			if _, err := b.store().Update(ctx, "acme/crm", func(d *Document) error { d.RetryOn = append(d.RetryOn, 450+i); return nil }); err != nil {
				t.Error(err)
			}
		}
	})
	always := func(secret.Secret) bool { return true }
	for range 10 {
		if _, err := both.Rewrap(ctx, always); err != nil && !errors.Is(err, errConflict) {
			t.Error(err)
		}
	}
	wg.Wait()
	got := b.get(b.store(newKey), "acme/crm")
	if len(got.RetryOn) != 30 || !slices.Equal(got.Secrets, secrets(made)) {
		t.Errorf("%d of 30 changes are there, with %d secrets", len(got.RetryOn), len(got.Secrets))
	}
}

func TestAnnounce(t *testing.T) {
	b := &sealingBucket{t: t}
	b.js, b.kv = newJetStream(t)
	ctx := testContext(t)
	b.announce(b.store()) // without keys there is nothing to make known
	if _, revision, err := announced(ctx, b.kv); revision != 0 || err != nil {
		t.Errorf("at revision %d, %v", revision, err)
	}
	early := testDocument()
	early.Secrets = secrets(testSecret)
	if applied := apply(t, b.store(oldKey), early); applied.Plain || !b.stored("acme/crm").Sealed() {
		t.Error("who has the keys does not seal before a replica says so")
	}
	if err := b.kv.Purge(ctx, "acme.crm"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { b.announce(b.store(oldKey)) })
	}
	wg.Wait()
	if all := b.bytes(); strings.Count(all, "\n$KV."+testBucket+"."+sealingKey) != 1 {
		t.Errorf("announced more than once:\n%s", all)
	}
	for who, s := range map[string]*Store{"no keys": b.store(), "another key": b.store(otherKey)} {
		if err := s.Announce(ctx, false); !errors.Is(err, ErrSealedByOthers) {
			t.Errorf("%s: %v", who, err)
		}
	}
	for who, want := range map[*secret.Ring]bool{nil: false, ringOf(t, otherKey): false, ringOf(t, newKey, oldKey): true} {
		ring, err := RingInUse(ctx, b.kv, who)
		if err != nil || (ring != nil) != want {
			t.Errorf("in use: %v, %v; want %v", ring != nil, err, want)
		}
	}
	// Whoever deletes it loses nothing.
	if err := b.kv.Delete(ctx, sealingKey); err != nil {
		t.Fatal(err)
	}
	b.announce(b.store(newKey, oldKey))
	if sealer, _, err := announced(ctx, b.kv); err != nil || sealer != ringOf(t, newKey).Sealer() {
		t.Errorf("announced is %s, %v", sealer.ID(), err)
	}
}

// Two replicas with keys of their own start at a time: one of them is refused.
func TestOneKeyWins(t *testing.T) {
	b := &sealingBucket{t: t}
	b.js, b.kv = newJetStream(t)
	ctx := testContext(t)
	errs := make(chan error, 2)
	for _, key := range []string{oldKey, otherKey} {
		s := b.store(key)
		go func() { errs <- s.Announce(ctx, false) }()
	}
	if a, b := <-errs, <-errs; (a == nil) == (b == nil) || !errors.Is(errors.Join(a, b), ErrSealedByOthers) {
		t.Errorf("got %v and %v", a, b)
	}
}

// The sole replica that lost its keys begins anew where nothing was sealed, and does
// not where something was.
func TestTheSoleReplicaTakesOver(t *testing.T) {
	b := &sealingBucket{t: t}
	b.js, b.kv = newJetStream(t)
	ctx := testContext(t)
	b.announce(b.store(otherKey))
	if err := b.store(oldKey).Announce(ctx, true); err != nil {
		t.Errorf("nothing is sealed: %v", err)
	}
	apply(t, b.store(oldKey), testDocument())
	if err := b.store(otherKey).Announce(ctx, true); !errors.Is(err, ErrSealedByOthers) {
		t.Errorf("with a document that is sealed: %v", err)
	}
}

// Where what was announced is gone, what is sealed tells whose the bucket is: nobody
// else begins anew, and who does not have the keys knows that something is sealed.
func TestAWrongRingDoesNotBeginAnew(t *testing.T) {
	b := newSealingBucket(t)
	ctx := testContext(t)
	apply(t, b.store(oldKey), testDocument())
	for _, forget := range []func(context.Context, string, ...jetstream.KVDeleteOpt) error{b.kv.Delete, b.kv.Purge} {
		if err := forget(ctx, sealingKey); err != nil {
			t.Fatal(err)
		}
		for who, s := range map[string]*Store{"no keys": b.store(), "another key": b.store(otherKey)} {
			for _, sole := range []bool{false, true} {
				err := s.Announce(ctx, sole)
				if !errors.Is(err, ErrSealedByOthers) || !strings.Contains(err.Error(), ringOf(t, oldKey).Sealer().ID()) {
					t.Errorf("%s, sole %v: %v", who, sole, err)
				}
			}
		}
		if _, revision, err := announced(ctx, b.kv); revision != 0 || err != nil {
			t.Errorf("announced at revision %d, %v", revision, err)
		}
		for ring, want := range map[*secret.Ring]bool{ringOf(t, otherKey): false, ringOf(t, newKey, oldKey): true} {
			if got, err := RingInUse(ctx, b.kv, ring); err != nil || (got != nil) != want {
				t.Errorf("in use: %v, %v; want %v", got != nil, err, want)
			}
		}
		b.announce(b.store(newKey, oldKey))
	}
}

// A key that is lost takes its secrets along, and nothing else.
func TestALostKeyIsLeftBehind(t *testing.T) {
	b := newSealingBucket(t)
	ctx := testContext(t)
	apply(t, b.store(oldKey), testDocument())
	other := b.store(otherKey)
	if err := other.Announce(ctx, true); err == nil || !strings.Contains(err.Error(), "nats kv del "+testBucket+" "+sealingKey) {
		t.Errorf("it is not said what to do: %v", err)
	}
	if err := b.kv.Delete(ctx, sealingKey); err != nil {
		t.Fatal(err)
	}
	made, err := other.RotateSecret(ctx, "acme/crm", 0)
	if err != nil {
		t.Fatal(err)
	}
	b.announce(other)
	if got := b.get(other, "acme/crm"); !slices.Equal(got.Secrets, secrets(made)) {
		t.Error("the endpoint does not have its new secret")
	}
}

// A credential of the greatest length can still be read when it is sealed.
func TestTheLongestCredentialIsSealed(t *testing.T) {
	b := newSealingBucket(t)
	d := testDocument()
	d.Headers = map[string]string{"Authorization": strings.Repeat("x", maxHeaderValueLength)}
	apply(t, b.store(oldKey), d)
	if got, err := b.store(oldKey).Get(testContext(t), "acme/crm"); err != nil || got.Headers["Authorization"] != d.Headers["Authorization"] {
		t.Errorf("it came back with %d bytes, %v", len(got.Headers["Authorization"]), err)
	}
}

// Where the public key is garbage or a stranger's, nothing is stored that needs one.
func TestATamperedPublicKeySealsNothing(t *testing.T) {
	b := newSealingBucket(t)
	ctx := testContext(t)
	d := testDocument()
	apply(t, b.store(oldKey), d)
	d.ID = "new"
	const anew = "start a replica that has the master keys"
	for value, says := range map[string]string{
		"": testBucket, "garbage CANARY": anew, ringOf(t, oldKey).Sealer().String() + "A": anew,
		ringOf(t, otherKey).Sealer().String(): "not among these",
	} {
		put(t, b.kv, sealingKey, value)
		stranger := says == "not among these"
		writers := map[string]*Store{"keys": b.store(oldKey), "no keys": b.store()}
		if stranger { // only who has the keys can tell
			delete(writers, "no keys")
		}
		for who, s := range writers {
			if _, err := s.Apply(ctx, d); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "CANARY") {
				t.Errorf("%q, %s: Apply: %v", value, who, err)
			}
		}
		if _, err := b.store(oldKey).Update(ctx, "acme/crm", func(d *Document) error { d.Paused = !d.Paused; return nil }); err != nil {
			t.Errorf("%q: what needs no sealing is refused: %v", value, err)
		}
		if !stranger {
			for who, s := range map[string]*Store{"no keys": b.store(), "another key": b.store(otherKey)} {
				if err := s.Announce(ctx, false); !errors.Is(err, ErrSealedByOthers) {
					t.Errorf("%q, %s: Announce: %v", value, who, err)
				}
			}
			if ring, err := RingInUse(ctx, b.kv, ringOf(t, oldKey)); ring == nil || err != nil {
				t.Errorf("%q: the key in use is not known to be: %v", value, err)
			}
		}
		b.announce(b.store(oldKey)) // what is sealed tells who is the stranger
		if sealer, _, err := announced(ctx, b.kv); err != nil || sealer != ringOf(t, oldKey).Sealer() {
			t.Errorf("%q stays: %v", value, err)
		}
	}
	if exists, err := b.store().Exists(ctx, "acme/new"); exists || err != nil {
		t.Errorf("it was stored all the same, %v", err)
	}
	r := startRegistry(t, b.kv, &syncBuffer{}, Opening(ringOf(t, oldKey)))
	if r.Len() != 1 || r.BrokenLen() != 0 {
		t.Errorf("the registry has %d endpoints, %d broken", r.Len(), r.BrokenLen())
	}
	parsed(t, r.Get("acme", "crm"))
}

// The replica that has no key holds what is sealed, until it gets a document that
// it can read.
func TestTheRegistryLocksWhatItCannotOpen(t *testing.T) {
	b := newSealingBucket(t)
	d := withCredentials(t, testDocument(), "bearer")
	apply(t, b.store(), d)
	unsigned := testDocument()
	unsigned.ID, unsigned.Signing = "unsigned", SigningNone
	apply(t, b.store(), unsigned)
	for name, option := range map[string]RegistryOption{"no keys": Opening(nil), "another key": Opening(ringOf(t, otherKey))} {
		var log syncBuffer
		r := startRegistry(t, b.kv, &log, option)
		e := r.Get("acme", "crm")
		if reason, unavailable := e.Unavailable(); !unavailable || reason != ReasonLocked {
			t.Errorf("%s: it is available: %q", name, reason)
		}
		if _, err := e.Parsed(); !errors.Is(err, ErrLocked) {
			t.Errorf("%s: %v", name, err)
		}
		if len(r.Match("acme", "order.created")) != 2 {
			t.Errorf("%s: it matches nothing any more", name)
		}
		if _, unavailable := r.Get("acme", "unsigned").Unavailable(); unavailable {
			t.Errorf("%s: an endpoint without secrets is locked, too", name)
		}
		if log.count(`"endpoints":1,"endpoint":"acme/crm"`) != 1 || log.count("JETHOOK_MASTER_KEYS") != 1 {
			t.Errorf("%s: the log does not say so once", name)
		}
	}
	r := startRegistry(t, b.kv, &syncBuffer{})
	plain := mustEncode(t, d)
	put(t, b.kv, "acme.crm", string(plain))
	b.inForce(r)
	if p := parsed(t, r.Get("acme", "crm")); p.Auth.Bearer != "CANARY-BEARER" {
		t.Error("it is not available again with a plain document")
	}
}

// A key that opens to what is no key at all locks the endpoint, too.
func TestSealedNonsenseLocks(t *testing.T) {
	ring := ringOf(t, oldKey)
	d := testDocument()
	d.Secrets = secrets("CANARY")
	d, err := seal(ring.Sealer(), d)
	if err != nil {
		t.Fatal(err)
	}
	e, err := compile(d, &opener{ring, zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Parsed(); !errors.Is(err, ErrLocked) || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("got %v", err)
	}
	if _, unavailable := e.Unavailable(); !unavailable {
		t.Error("it is available")
	}
}

// The bucket says what secrets are, never where: a document there does not make a
// replica read its environment or files.
func TestTheBucketRefersToNothing(t *testing.T) {
	t.Setenv("JETHOOK_TEST_REFERENCE", "CANARY")
	kv := newBucket(t)
	d := testDocument()
	d.Auth = &Auth{Bearer: "env:JETHOOK_TEST_REFERENCE"}
	d.Headers = map[string]string{"X-Token": "file:/etc/hostname"}
	d.Secrets = secrets(testSecret)
	put(t, kv, "acme.crm", string(mustEncode(t, d)))
	d.ID, d.Secrets = "signed", secrets("env:JETHOOK_TEST_REFERENCE")
	put(t, kv, "acme.signed", string(mustEncode(t, d)))
	r := startRegistry(t, kv, &syncBuffer{})
	p := parsed(t, r.Get("acme", "crm"))
	if p.Auth.Bearer != "env:JETHOOK_TEST_REFERENCE" || p.Header.Get("X-Token") != "file:/etc/hostname" {
		t.Errorf("resolved: %s, %q", p.Auth.Bearer.Reveal(), p.Header)
	}
	if r.Get("acme", "signed") != nil || r.BrokenLen() != 1 {
		t.Error("a reference passes for a signing secret")
	}
}

func TestNoSecretIsForgotten(t *testing.T) {
	d := withCredentials(t, testDocument(), "")
	for _, auth := range authKinds {
		one := withCredentials(t, testDocument(), auth)
		if d.Auth == nil {
			d.Auth = &Auth{}
		}
		switch auth {
		case "basic":
			d.Auth.Basic = one.Auth.Basic
		case "bearer":
			d.Auth.Bearer = one.Auth.Bearer
		case "oauth2":
			d.Auth.OAuth2 = one.Auth.OAuth2
		}
	}
	visited := 0
	for range d.eachSecret() {
		visited++
	}
	if n := countSecrets(reflect.ValueOf(d)) + len(d.Headers); visited != n {
		t.Errorf("%d secrets are visited, the document has %d", visited, n)
	}
	// It can be left at any place.
	for stop := range visited {
		seen := 0
		for range d.eachSecret() {
			if seen++; seen > stop {
				break
			}
		}
	}
	canonical := map[string]bool{}
	for about := range d.eachSecret() {
		canonical[about] = true
	}
	if !canonical["acme/crm headers."+http.CanonicalHeaderKey("x-api-KEY")] || !canonical["acme/crm extra_signatures.X-Hub-Signature-256"] {
		t.Errorf("the same header can be about different things: %v", canonical)
	}
}

// countSecrets counts the fields of type Secret that have a value.
func countSecrets(v reflect.Value) (n int) {
	switch {
	case v.Type() == reflect.TypeFor[secret.Secret]():
		if v.Len() > 0 {
			return 1
		}
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return countSecrets(v.Elem())
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			n += countSecrets(v.Index(i))
		}
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for _, field := range v.Fields() {
			n += countSecrets(field)
		}
	}
	return n
}

func TestAnnouncedEndsWithItsContext(t *testing.T) {
	b := newSealingBucket(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.store(oldKey).Announce(ctx, false); !errors.Is(err, context.Canceled) {
		t.Errorf("Announce: %v", err)
	}
	if _, err := b.store(oldKey).Rewrap(ctx, Plain); !errors.Is(err, context.Canceled) {
		t.Errorf("Rewrap: %v", err)
	}
}
