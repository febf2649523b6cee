package secret

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keyFileHeader begins a new key file.
const keyFileHeader = `# The master keys that seal the secrets of endpoints, one a line. The first seals,
# all open. Keep a copy elsewhere: without these keys the secrets are lost.
`

// maxKeyFile bounds what is read of a file that may be anything.
const maxKeyFile = 64 << 10

// KeyFile returns the path of the file with the master keys in a data directory.
func KeyFile(dir string) string { return filepath.Join(dir, "master-keys") }

// LoadRing reads the key file of a data directory: one master key a line, empty
// lines and those that begin with # aside. It reports false if there is no such
// file. A file that others than its owner may read or write is refused.
func LoadRing(dir string) (*Ring, bool, error) {
	path := KeyFile(dir)
	texts, err := readKeys(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case len(texts) == 0:
		return nil, false, fmt.Errorf("%s holds no master key: write one in a line of its own, %s", path, allowed)
	}
	ring, err := newRing(texts)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	return ring, true, nil
}

func readKeys(path string) (texts []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the master keys: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	// Asked of the open file: the path may mean another one a moment later.
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the master keys: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxKeyFile:
		return nil, fmt.Errorf("%s must be a file of at most %d bytes, with one master key a line", path, maxKeyFile)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s may be used by others than its owner (its mode is %04o): chmod 600 %s", path, info.Mode().Perm(), path)
	}
	lines := bufio.NewScanner(io.LimitReader(f, maxKeyFile))
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
			texts = append(texts, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return texts, nil
}

// MakeRing makes the key file of a data directory, with a new master key and for
// its owner alone, and returns when it is on the disk. The directory is made if
// there is none. If the file is there by then, because another process was faster,
// MakeRing loads that one. Nobody sees a file that is not complete.
func MakeRing(dir string) (*Ring, error) {
	path := KeyFile(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	if err := makeKeyFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make %s: %w; write the file yourself with mode 600, in it %s", path, err, allowed)
	}
	// For a file that another made, too: it may not have come this far.
	if err := syncDirectory(dir); err != nil {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	ring, found, err := LoadRing(dir)
	if err == nil && !found {
		err = fmt.Errorf("%s was removed while it was made, or is a link to nowhere", path)
	}
	return ring, err
}

// makeKeyFile writes the file under another name and links it to its own, which
// fails if that is taken; a rename would replace the keys of another process.
func makeKeyFile(path string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // O_EXCL, mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(keyFileHeader + NewMasterKey().Reveal() + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
