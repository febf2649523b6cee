// Package delivery promises that what happens to one event at one endpoint is
// decided in one place, by pure functions, from facts.
//
// A Delivery carries its own State. An attempt yields a Result. Classify turns
// a result into a verdict, and Delivery.After turns a verdict and the
// endpoint's terms into what is done next. Encode and Decode carry the whole
// of it through NATS.
package delivery
