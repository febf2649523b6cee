package event

import (
	"encoding/json"
	"unicode/utf8"
)

// Payload returns a body for a JSON document in the form that loses nothing: as it
// is where it is JSON, as a string where it is text, and otherwise as bytes for a
// field that has them in base64.
func Payload(body []byte) (payload json.RawMessage, other []byte) {
	switch {
	case !utf8.Valid(body):
		return nil, body
	case json.Valid(body):
		return body, nil
	}
	text, err := json.Marshal(string(body))
	if err != nil { // a string can always be encoded
		return nil, body
	}
	return text, nil
}
