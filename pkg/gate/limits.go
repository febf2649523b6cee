package gate

// Terms are what an endpoint's document says of it, for all replicas together.
type Terms struct {
	PerSecond   float64 // 0: no rate limit
	Burst       int
	MaxInFlight int
}

// Limits are what an endpoint bears from this replica.
type Limits struct {
	PerSecond   float64 // 0: no rate limit
	Burst       int
	MaxInFlight int
}

// Share returns one replica's part of an endpoint's limits. The rate is divided
// exactly. Burst and concurrency are rounded down, so that all replicas together
// stay within them, but are at least 1: an endpoint that bears less at a time
// than there are replicas gets one from each. Without a rate limit the burst
// means nothing.
func Share(perSecond float64, burst, maxInFlight, replicas int) Limits {
	n := max(1, replicas)
	return Limits{
		PerSecond:   perSecond / float64(n),
		Burst:       max(1, burst/n),
		MaxInFlight: max(1, maxInFlight/n),
	}
}
