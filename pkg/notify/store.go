package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// store keeps the records of what owners were told.
type store struct {
	js     jetstream.JetStream
	bucket string
}

// stored is a record at a revision of the bucket, 0 where there is none.
type stored struct {
	Record
	revision uint64
}

// errOvertaken says that another replica wrote the record meanwhile.
var errOvertaken = errors.New("another replica wrote the record at the same time")

// key and nameOf turn TENANT/ENDPOINT into a key of the bucket, and back.
func key(name string) string { return strings.Replace(name, "/", ".", 1) }

func nameOf(key string) string { return strings.Replace(key, ".", "/", 1) }

func (s store) kv(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := s.js.KeyValue(ctx, s.bucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", s.bucket, err)
	}
	return kv, nil
}

// get returns the record of an endpoint. One that cannot be read counts as none:
// something may then be said twice.
func (s store) get(ctx context.Context, kv jetstream.KeyValue, name string) (stored, error) {
	entry, err := kv.Get(ctx, key(name))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return stored{}, nil
	case err != nil:
		return stored{}, fmt.Errorf("read what the owner of %s was told: %w", name, err)
	}
	r := stored{revision: entry.Revision()}
	if json.Unmarshal(entry.Value(), &r.Record) != nil || r.Dead.Count > 0 && len(r.Dead.Last) == 0 {
		r.Record = Record{}
	}
	return r, nil
}

// put stores a record in the place of another one and returns its revision, unless
// that is not the last any more: then it returns errOvertaken.
func (s store) put(ctx context.Context, kv jetstream.KeyValue, name string, r Record, last uint64) (revision uint64, err error) {
	data, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("encode what the owner of %s was told: %w", name, err)
	}
	if last == 0 {
		revision, err = kv.Create(ctx, key(name), data)
	} else {
		revision, err = kv.Update(ctx, key(name), data, last)
	}
	switch {
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		return 0, errOvertaken
	case err != nil:
		return 0, fmt.Errorf("store what the owner of %s was told: %w", name, err)
	}
	return revision, nil
}

// forget removes the record of an endpoint that is gone.
func (s store) forget(ctx context.Context, kv jetstream.KeyValue, name string) error {
	if err := kv.Delete(ctx, key(name)); err != nil {
		return fmt.Errorf("forget what the owner of %s was told: %w", name, err)
	}
	return nil
}

// names returns the endpoints that may have a record. It asks the stream that the
// bucket is, which takes fewer rights than a watch.
func (s store) names(ctx context.Context) ([]string, error) {
	prefix := "$KV." + s.bucket + "."
	stream, err := s.js.Stream(ctx, "KV_"+s.bucket)
	var info *jetstream.StreamInfo
	if err == nil {
		info, err = stream.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	}
	if err != nil {
		return nil, fmt.Errorf("list the records in bucket %s: %w", s.bucket, err)
	}
	var names []string
	for subject := range info.State.Subjects {
		names = append(names, nameOf(strings.TrimPrefix(subject, prefix)))
	}
	return names, nil
}
