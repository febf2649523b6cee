// Package endpoint promises that an endpoint document which was accepted can be
// delivered to, that one which was refused says where and why, and that a
// replica always matches events against the last good documents in the bucket,
// whatever happens to the bucket, the server or a single document.
//
// An operator writes a [Document], alone or in a YAML file ([ParseFile]). The
// [Store] keeps documents as JSON in a NATS KV bucket, one key for each
// endpoint. The [Registry] of each replica watches that bucket, compiles every
// document to an [Endpoint] and finds those that want an event.
package endpoint
