package endpoint

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// What a value of a file may begin with that says where a secret is.
const (
	envReference  = "env:"
	fileReference = "file:"
)

func isReference(text string) bool {
	return strings.HasPrefix(text, envReference) || isFileReference(text)
}

func isFileReference(text string) bool { return strings.HasPrefix(text, fileReference) }

// maxReferenced bounds the size of a file that holds a secret.
const maxReferenced = 64 << 10

// ResolveReference returns the secret that "env:NAME" or "file:PATH" refers to,
// where whoever reads a file of endpoints may see it. One line break at the end of
// a file is not part of the secret. Errors name the variable or the file, never
// what is in it.
func ResolveReference(reference string) (string, error) {
	if name, ok := strings.CutPrefix(reference, envReference); ok {
		// Whoever writes a file of endpoints would have our own secrets sent to them.
		if strings.HasPrefix(name, "JETHOOK_") || strings.HasPrefix(name, "NATS_") {
			return "", fmt.Errorf("refers to the environment variable %s, which is jethook's own", quote(name))
		}
		value, set := os.LookupEnv(name)
		if !set || value == "" {
			return "", fmt.Errorf("refers to the environment variable %s, which is not set", quote(name))
		}
		return value, nil
	}
	path := strings.TrimPrefix(reference, fileReference)
	info, err := os.Stat(path)
	var data []byte
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxReferenced) {
		err = fmt.Errorf("must be a regular file of at most %d bytes", maxReferenced)
	}
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if failed, ok := errors.AsType[*os.PathError](err); ok {
		err = failed.Err // without the path, which is there already
	}
	if err != nil {
		return "", fmt.Errorf("refers to the file %s, which cannot be read: %w", quote(path), err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if value == "" {
		return "", fmt.Errorf("refers to the file %s, which is empty", quote(path))
	}
	return value, nil
}
