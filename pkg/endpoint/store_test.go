package endpoint

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"jethook/pkg/secret"
)

func apply(t *testing.T, s *Store, d Document) Applied {
	t.Helper()
	applied, err := s.Apply(testContext(t), d)
	if err != nil {
		t.Fatal(err)
	}
	return applied
}

// getCRM returns what is stored of testDocument's endpoint.
func getCRM(t *testing.T, s *Store) Document {
	t.Helper()
	d, err := s.Get(testContext(t), "acme/crm")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func put(t *testing.T, kv jetstream.KeyValue, key, value string) {
	t.Helper()
	if _, err := kv.PutString(testContext(t), key, value); err != nil {
		t.Fatal(err)
	}
}

func TestApply(t *testing.T) {
	s := NewStore(newBucket(t))
	d := testDocument()

	created := apply(t, s, d)
	if created.Result != Created || created.Name != "acme/crm" || !strings.HasPrefix(created.NewSecret.Reveal(), "whsec_") {
		t.Fatalf("got %+v", created)
	}
	same := apply(t, s, d)
	if same.Result != Unchanged || same.NewSecret != "" || same.Revision != created.Revision {
		t.Errorf("the same again: got %+v", same)
	}
	d.Timeout = Duration(time.Second)
	updated := apply(t, s, d)
	if updated.Result != Updated || updated.NewSecret != "" || updated.Revision <= created.Revision {
		t.Errorf("another timeout: got %+v", updated)
	}
	want := d
	want.Secrets = secrets(created.NewSecret)
	if got := getCRM(t, s); !reflect.DeepEqual(got, want) {
		t.Errorf("stored is %s", mustEncode(t, got))
	}

	d.Secrets = secrets(testSecret)
	apply(t, s, d)
	if got := getCRM(t, s).Secrets; !slices.Equal(got, d.Secrets) {
		t.Error("secrets in the document did not replace those in the bucket")
	}
	d.Secrets, d.Signing = nil, SigningNone
	apply(t, s, d)
	if got := getCRM(t, s).Secrets; len(got) != 0 {
		t.Error("signing none has secrets")
	}
	d.Signing = SigningV1a
	if again := apply(t, s, d); !strings.HasPrefix(again.NewSecret.Reveal(), "whsk_") {
		t.Error("signing v1a did not make a private key")
	}
}

func TestApplyRefusesInvalid(t *testing.T) {
	s := NewStore(newBucket(t))
	d := testDocument()
	d.Timeout = 0
	if _, err := s.Apply(testContext(t), d); err == nil || !strings.Contains(err.Error(), "acme/crm: timeout: must be") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Get(testContext(t), "acme/crm"); !errors.Is(err, ErrNotFound) {
		t.Errorf("it was stored: %v", err)
	}
}

// A file that says nothing of paused does not resume what an operator paused.
func TestApplyKeepsPausedWhereTheFileIsSilent(t *testing.T) {
	s := NewStore(newBucket(t))
	parse := func(more string) Document {
		file, err := ParseFile("f", []byte("endpoints: [{tenant: acme, id: crm, url: 'https://example.com', events: ['>']"+more+"}]"), Rules{})
		if err != nil {
			t.Fatal(err)
		}
		return file.Endpoints[0]
	}
	apply(t, s, parse(""))
	if _, err := s.Update(testContext(t), "acme/crm", func(d *Document) error { d.Paused = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if applied := apply(t, s, parse("")); applied.Result != Unchanged || !getCRM(t, s).Paused {
		t.Errorf("%s, paused: %v; want it unchanged and paused", applied.Result, getCRM(t, s).Paused)
	}
	if apply(t, s, parse(", paused: false")); getCRM(t, s).Paused {
		t.Error("still paused although the file says otherwise")
	}
}

func TestApplyNeverEnables(t *testing.T) {
	s := NewStore(newBucket(t))
	d := testDocument()
	apply(t, s, d)
	disabled := &Disabled{Reason: "410 Gone", At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	if _, err := s.Update(testContext(t), "acme/crm", func(d *Document) error { d.Disabled = disabled; return nil }); err != nil {
		t.Fatal(err)
	}
	if applied := apply(t, s, d); applied.Result != Unchanged {
		t.Errorf("got %s", applied.Result)
	}
	d.Description = "changed"
	apply(t, s, d)
	if got := getCRM(t, s); !reflect.DeepEqual(got.Disabled, disabled) || got.Description != "changed" {
		t.Errorf("got %s", mustEncode(t, got))
	}
}

func TestApplyOverBroken(t *testing.T) {
	kv := newBucket(t)
	s := NewStore(kv)
	ctx := testContext(t)
	d := testDocument()

	put(t, kv, "acme.crm", `{"secrets":["`+testSecret+`"],"disabled":{"reason":"x","at":"2026-01-01T00:00:00Z"},"available_since":"2025-01-01T00:00:00Z","made_at":"2024-01-01T00:00:00Z","unheard_of":1}`)
	var broken *BrokenError
	if _, err := s.Get(ctx, "acme/crm"); !errors.As(err, &broken) || broken.Key != "acme.crm" {
		t.Errorf("Get: got %v, want a BrokenError", err)
	}
	if _, err := s.Update(ctx, "acme/crm", func(*Document) error { return nil }); !errors.As(err, &broken) {
		t.Errorf("Update: got %v, want a BrokenError", err)
	}
	if applied := apply(t, s, d); applied.Result != Updated || applied.NewSecret != "" {
		t.Errorf("got %+v", applied)
	}
	if got := getCRM(t, s); !slices.Equal(got.Secrets, secrets(testSecret)) || got.Disabled == nil || got.AvailableSince.IsZero() || got.MadeAt.IsZero() {
		t.Errorf("secrets or state of the broken document were lost: %v, %s", got.Disabled, got.AvailableSince)
	}

	put(t, kv, "acme.crm", `not JSON`)
	if _, err := s.Apply(ctx, d); err == nil || !strings.Contains(err.Error(), "with its secrets in the document") {
		t.Errorf("got %v, want the secrets to be asked for", err)
	}
	d.Secrets = secrets(testSecret2)
	if applied := apply(t, s, d); applied.Result != Updated {
		t.Errorf("got %+v", applied)
	}
}

func TestNotFound(t *testing.T) {
	s := NewStore(newBucket(t))
	ctx := testContext(t)
	update := func(name string) error {
		_, err := s.Update(ctx, name, func(*Document) error { return nil })
		return err
	}
	if err := s.Remove(ctx, "acme/crm"); !errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "did you mean") {
		t.Errorf("in an empty bucket: got %v", err)
	}
	apply(t, s, testDocument())
	for name, call := range map[string]func(string) error{
		"Get":          func(name string) error { _, err := s.Get(ctx, name); return err },
		"Remove":       func(name string) error { return s.Remove(ctx, name) },
		"Update":       update,
		"RotateSecret": func(name string) error { _, err := s.RotateSecret(ctx, name, time.Hour); return err },
	} {
		if err := call("acme/crn"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "did you mean acme/crm?") {
			t.Errorf("%s: got %v", name, err)
		}
		var nameError *NameError
		if err := call("acme"); !errors.As(err, &nameError) {
			t.Errorf("%s: got %v, want a NameError", name, err)
		}
	}
}

func TestListAndRemove(t *testing.T) {
	kv := newBucket(t)
	s := NewStore(kv)
	ctx := testContext(t)
	if documents, broken, err := s.List(ctx); len(documents)+len(broken) != 0 || err != nil {
		t.Fatalf("an empty bucket lists %v, %v, %v", documents, broken, err)
	}
	for _, id := range []string{"c", "a", "b"} {
		d := testDocument()
		d.ID = id
		apply(t, s, d)
	}
	put(t, kv, "acme.z", "{}")
	put(t, kv, "odd", "{}")
	put(t, kv, "acme.other", string(mustEncode(t, testDocument())))
	if err := s.Remove(ctx, "acme/b"); err != nil {
		t.Fatal(err)
	}
	documents, broken, err := s.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var names, keys []string
	for _, d := range documents {
		names = append(names, d.Name())
	}
	for _, b := range broken {
		keys = append(keys, b.Key)
	}
	if !slices.Equal(names, []string{"acme/a", "acme/c"}) || !slices.Equal(keys, []string{"acme.other", "acme.z", "odd"}) {
		t.Errorf("got %v, broken %v", names, keys)
	}
	if err := s.Remove(ctx, "acme/z"); err != nil {
		t.Errorf("a broken document cannot be removed: %v", err)
	}
	if history, err := kv.History(ctx, "acme.b"); err != nil || len(history) != 1 {
		t.Errorf("a removed endpoint left %d revisions, %v", len(history), err)
	}
	d := testDocument()
	d.ID = "b"
	if applied := apply(t, s, d); applied.Result != Created || applied.NewSecret == "" {
		t.Errorf("anew after its removal: got %+v", applied)
	}
}

// Sixteen writers at once: every change arrives, none is overwritten unseen.
func TestUpdateSurvivesConflicts(t *testing.T) {
	s := NewStore(newBucket(t))
	d := testDocument()
	d.RetryOn = []int{}
	apply(t, s, d)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for {
				_, err := s.Update(testContext(t), "acme/crm", func(d *Document) error {
					d.RetryOn = append(d.RetryOn, 450+i)
					return nil
				})
				if err == nil {
					return
				}
				if !errors.Is(err, errConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got := getCRM(t, s).RetryOn
	slices.Sort(got)
	if want := many(16, func(i int) int { return 450 + i }); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Many apply one new endpoint at once: one secret is made, and all know it.
func TestApplyConcurrently(t *testing.T) {
	s := NewStore(newBucket(t))
	var mu sync.Mutex
	var made []secret.Secret
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			d := testDocument()
			d.Description = fmt.Sprint(i)
			applied, err := s.Apply(testContext(t), d)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if applied.NewSecret != "" {
				made = append(made, applied.NewSecret)
			}
		})
	}
	wg.Wait()
	if got := getCRM(t, s).Secrets; len(made) != 1 || !slices.Equal(got, secrets(made...)) {
		t.Errorf("%d secrets were shown, %d are stored", len(made), len(got))
	}
}

func TestUpdateRefuses(t *testing.T) {
	s := NewStore(newBucket(t))
	ctx := testContext(t)
	apply(t, s, testDocument())
	own := errors.New("changed my mind")
	for name, tt := range map[string]struct {
		change func(*Document) error
		want   string
	}{
		"own error": {func(*Document) error { return own }, "changed my mind"},
		"rename":    {func(d *Document) error { d.ID = "other"; return nil }, "cannot be renamed"},
		"invalid":   {func(d *Document) error { d.Lane = ""; return nil }, "lane: "},
	} {
		if _, err := s.Update(ctx, "acme/crm", tt.change); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestRotateSecret(t *testing.T) {
	s := NewStore(newBucket(t))
	ctx := testContext(t)
	first := apply(t, s, testDocument()).NewSecret
	before := time.Now()
	second, err := s.RotateSecret(ctx, "acme/crm", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got := getCRM(t, s).Secrets
	if len(got) != 2 || got[0] != (SigningSecret{Secret: second}) || got[1].Secret != first {
		t.Fatalf("%d secrets; the new one is not before the old one", len(got))
	}
	until := got[1].ExpiresAt
	if overlap := until.Sub(before); overlap < time.Hour-time.Second || overlap > time.Hour+time.Minute {
		t.Errorf("the old secret signs for %s, want an hour", overlap)
	}
	// A longer overlap does not bring back what was to expire sooner.
	third, err := s.RotateSecret(ctx, "acme/crm", 2*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got = getCRM(t, s).Secrets
	if len(got) != 3 || got[0].Secret != third || got[1].Secret != second || !got[1].ExpiresAt.After(until) || got[2].Secret != first || !got[2].ExpiresAt.Equal(until) {
		t.Errorf("after a second rotation there are %d secrets, or they expire at other times", len(got))
	}
	fourth, err := s.RotateSecret(ctx, "acme/crm", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := getCRM(t, s).Secrets; !slices.Equal(got, secrets(fourth)) || fourth == third {
		t.Error("the old secrets are still there")
	}
	for range MaxSecrets - 1 {
		if _, err := s.RotateSecret(ctx, "acme/crm", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.RotateSecret(ctx, "acme/crm", time.Hour); err == nil || !strings.Contains(err.Error(), "--overlap 0s") {
		t.Errorf("an eleventh secret: got %v", err)
	}
	d := testDocument()
	d.ID, d.Signing = "unsigned", SigningNone
	apply(t, s, d)
	if _, err := s.RotateSecret(ctx, "acme/unsigned", time.Hour); err == nil || !strings.Contains(err.Error(), "signing is none") {
		t.Errorf("got %v", err)
	}
}

func TestStoreEndsWithItsContext(t *testing.T) {
	s := NewStore(newBucket(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("List: got %v", err)
	}
	if _, err := s.Apply(ctx, testDocument()); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply: got %v", err)
	}
}
