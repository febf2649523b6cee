// Package notify promises that an endpoint's owner hears of what happens to it
// when it changes, and not more often than is of use: as events of its tenant,
// and by e-mail and Slack where the endpoint has a contact.
//
// What is said follows from facts (an open gate, a disabled document, dead
// letters) and from a record of what was said before, which lies in NATS and is
// written before anything is said, by whoever had read the last one. So it matters
// neither which replica looks, nor whether one dies while it does.
//
//	word      what is said, in the shape that receivers rely on
//	record    what was said, and what is to be said next: pure
//	health    of failing and recovered, with hysteresis, and of flapping
//	disabled  of endpoints that jethook disabled
//	dead      of dead letters: the first at once, the rest in digests
//	store     the records, in a bucket
//	publish   words as events of the tenant, each once
//	notifier  hears of what may have changed
//	run       looks at endpoints then, and at those of replicas that are gone
//	review    says what is to be said of one, and remembers it
//	courier   takes words for contacts, bounded in number and rate
//	bring     brings them there, with bounded patience
//	text      words as people read them
//	smtp      by e-mail
//	slack     to incoming webhooks as Slack has them
package notify
