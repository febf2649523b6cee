package receiver

// Stats counts what a receiver saw. Requests is the sum of OK and Failed.
type Stats struct {
	// Requests counts all requests.
	Requests int
	// OK counts the requests answered with a success.
	OK int
	// Failed counts the others, those that got no answer included.
	Failed int
	// Distinct counts the ids answered with a success. One that comes back after
	// 100,000 others counts again, because it was forgotten meanwhile.
	Distinct int
	// Duplicates counts the requests whose id had been answered with a success.
	Duplicates int
	// BadSignatures counts the requests that no key had signed.
	BadSignatures int
}

// add counts one request; Distinct is left to the memory of ids.
func (s *Stats) add(req *Request) {
	s.Requests++
	if req.answeredOK() {
		s.OK++
	} else {
		s.Failed++
	}
	if req.Duplicate {
		s.Duplicates++
	}
	if req.Verified == No {
		s.BadSignatures++
	}
}
