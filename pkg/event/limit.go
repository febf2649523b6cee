package event

import "fmt"

// The limits on what an event passes on. Receivers refuse more, many of them
// earlier; NATS itself takes 64 KiB of headers.
const (
	maxFields = 64       // headers
	maxName   = 256      // bytes of a name
	maxValue  = 4 << 10  // bytes of a value, as it is sent
	maxTotal  = 16 << 10 // bytes of all names and values
	// maxSpellings is how many spellings of attributes are told apart. A message of
	// more is not worth putting in order: it has too many, however that counts.
	maxSpellings = 4 * maxFields
)

// within returns the headers that are within the limits, and what the first is
// that is not. left is how many there are besides.
func within(fields []Field, left int) (kept []Field, problem string) {
	if count := len(fields) + left; count > maxFields {
		problem = fmt.Sprintf("the event has %d headers to pass on, and %d is the limit", count, maxFields)
	}
	total := 0
	kept = fields[:0]
	for _, f := range fields {
		over := f.over()
		total += len(f.Name) + len(f.Value)
		if over == "" && total > maxTotal {
			over = fmt.Sprintf("with header %s the headers to pass on come to more than %d KiB, which is the limit", f.short(), maxTotal>>10)
		}
		if problem == "" {
			problem = over
		}
		if over == "" && len(kept) < maxFields {
			kept = append(kept, f)
		}
	}
	return kept, problem
}

// over says which limit a header breaks by itself, if any.
func (f Field) over() string {
	switch {
	case len(f.Name) > maxName:
		return fmt.Sprintf("the name of header %s has %d bytes, and %d is the limit", f.short(), len(f.Name), maxName)
	case len(f.Value) > maxValue:
		return fmt.Sprintf("header %s has a value of %d bytes, and %d KiB is the limit", f.short(), len(f.Value), maxValue>>10)
	}
	return ""
}

// short returns the name in a length that does not push the rest out of an
// error.
func (f Field) short() string {
	const most = 40
	if len(f.Name) <= most {
		return f.Name
	}
	return f.Name[:most] + "…"
}
