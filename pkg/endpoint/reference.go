package endpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
)

// What a value of a file may begin with that says where a secret is.
const (
	envReference  = "env:"
	fileReference = "file:"
)

// ownVariables are the beginnings of the names of the environment variables that
// jethook is configured with, and may hold its own passwords and tokens.
var ownVariables = []string{"JETHOOK_", "NATS_", "OTEL_"}

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
		if slices.ContainsFunc(ownVariables, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			return "", fmt.Errorf("refers to the environment variable %s, which is jethook's own", quote(name))
		}
		value, set := os.LookupEnv(name)
		if !set || value == "" {
			return "", fmt.Errorf("refers to the environment variable %s, which is not set", quote(name))
		}
		return value, nil
	}
	path := strings.TrimPrefix(reference, fileReference)
	data, err := readReferenced(path)
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

// readReferenced reads a regular file. It opens without waiting, as a pipe would have
// it, and looks at what it opened, because the path may name something else by then.
func readReferenced(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var data []byte
	if info.Mode().IsRegular() {
		if data, err = io.ReadAll(io.LimitReader(f, maxReferenced+1)); err != nil {
			return nil, err
		}
	}
	if !info.Mode().IsRegular() || len(data) > maxReferenced {
		return nil, fmt.Errorf("must be a regular file of at most %d bytes", maxReferenced)
	}
	return data, nil
}
