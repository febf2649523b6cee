package secret

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a key file with this text and mode.
func write(t *testing.T, text string, mode os.FileMode) (dir string) {
	t.Helper()
	dir = t.TempDir()
	path := KeyFile(dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// WriteFile's mode is subject to the umask.
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLoadRing(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		ids  []string
		mode os.FileMode
	}{
		"one key":            {firstKey, []string{"57fd2b3b"}, 0o600},
		"one for reading":    {firstKey + "\n", []string{"57fd2b3b"}, 0o400},
		"two, the last open": {"# seals\n" + secondKey + "\n\n \t# opens\n  " + firstKey + "\r\n", []string{"20787270", "57fd2b3b"}, 0o600},
		"as it is made":      {keyFileHeader + firstKey + "\n", []string{"57fd2b3b"}, 0o600},
		"large":              {strings.Repeat("#\n", maxKeyFile/2-50) + firstKey, []string{"57fd2b3b"}, 0o600},
	} {
		ring, found, err := LoadRing(write(t, tt.text, tt.mode))
		if err != nil || !found {
			t.Errorf("%s: found %v, %v", name, found, err)
			continue
		}
		if len(ring.keys) != len(tt.ids) || ring.Sealer().ID() != tt.ids[0] || ring.index(tt.ids[len(tt.ids)-1]) < 0 {
			t.Errorf("%s: the ring has other keys than %s", name, tt.ids)
		}
	}
	for name, dir := range map[string]string{"no file": t.TempDir(), "no directory": filepath.Join(t.TempDir(), "data")} {
		if ring, found, err := LoadRing(dir); ring != nil || found || err != nil {
			t.Errorf("%s: LoadRing gives %v, %v, %v", name, ring, found, err)
		}
	}
}

func TestLoadRingRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":          {"", "holds no master key"},
		"comments":         {"# CANARY\n\n", "holds no master key"},
		"no key":           {"CANARY!\n", "master key 1 must be"},
		"second no key":    {"# here\n" + firstKey + "\n#\nCANARY!\n", "master key 2 must be"},
		"two in a line":    {firstKey + "," + secondKey, "master key 1 must be"},
		"a comment behind": {firstKey + " # CANARY", "master key 1 must be"},
		"twice":            {firstKey + "\n" + firstKey, "master key 2 has the same id"},
		"too many":         {strings.Repeat(firstKey+"\n", MaxMasterKeys+1), "17 master keys"},
		"too large":        {firstKey + "\n" + strings.Repeat("#", maxKeyFile), "at most 65536 bytes"},
	} {
		dir := write(t, tt.text, 0o600)
		ring, found, err := LoadRing(dir)
		if err == nil || ring != nil || found {
			t.Errorf("%s: is accepted", name)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), KeyFile(dir)) {
			t.Errorf("%s: says %q, want %q and the path", name, err, tt.want)
		}
		if strings.Contains(err.Error(), "CANARY") || strings.Contains(err.Error(), firstKey[:8]) {
			t.Errorf("%s: the error repeats the file: %v", name, err)
		}
	}
}

func TestLoadRingRefusesWhatOthersMayUse(t *testing.T) {
	for mode := os.FileMode(0o400); mode <= 0o777; mode++ {
		dir := write(t, firstKey, mode)
		_, found, err := LoadRing(dir)
		if mode&0o077 == 0 {
			// Only the superuser reads what its owner may not.
			if (err != nil || !found) && (mode&0o400 != 0 || os.Geteuid() == 0) {
				t.Errorf("%04o: found %v, %v", mode, found, err)
			}
			continue
		}
		if err == nil || found {
			t.Errorf("%04o: is accepted", mode)
		} else if want := "chmod 600 " + KeyFile(dir); mode&0o400 != 0 && !strings.Contains(err.Error(), want) {
			t.Errorf("%04o: says %q, want %q", mode, err, want)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(KeyFile(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, found, err := LoadRing(dir); found || err == nil || !strings.Contains(err.Error(), "must be a file") {
		t.Errorf("a directory is accepted, or the error is %v", err)
	}
}

func TestMakeRing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	made, err := MakeRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(KeyFile(dir))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
	sealed := mustSeal(t, made.Sealer(), plain, about)
	loaded, found, err := LoadRing(dir)
	if err != nil || !found {
		t.Fatalf("found %v, %v", found, err)
	}
	again, err := MakeRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, ring := range []*Ring{loaded, again} {
		if got, err := ring.Open(sealed, about); err != nil || got != plain || len(ring.keys) != 1 {
			t.Errorf("the ring is another: %v", err)
		}
	}
	onlyKeyFile(t, dir)
	if other, err := MakeRing(t.TempDir()); err != nil || other.Sealer() == made.Sealer() {
		t.Errorf("two directories have one key: %v", err)
	}
}

func TestMakeRingKeepsWhatIsThere(t *testing.T) {
	dir := write(t, firstKey, 0o600)
	if ring, err := MakeRing(dir); err != nil || ring.Sealer().String() != firstPublic {
		t.Errorf("the file that was there is not loaded: %v", err)
	}
	if text, err := os.ReadFile(KeyFile(dir)); err != nil || string(text) != firstKey {
		t.Errorf("the file that was there is changed: %v", err)
	}
	onlyKeyFile(t, dir)

	dir = write(t, firstKey, 0o644)
	if _, err := MakeRing(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others may read is accepted: %v", err)
	}
	dir = t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "nowhere"), KeyFile(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := MakeRing(dir); err == nil || !strings.Contains(err.Error(), "link to nowhere") {
		t.Errorf("a link to nowhere is accepted: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := MakeRing(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file is accepted for a directory: %v", err)
	}
}

// Whoever makes the file at the same time gets the same key, and whoever reads it
// meanwhile finds it complete or not at all.
func TestMakeRingRace(t *testing.T) {
	const rounds, makers = 20, 8
	for range rounds {
		dir := t.TempDir()
		start, results, readers := make(chan struct{}), make(chan *Ring), make(chan error)
		for range makers {
			go func() {
				<-start
				ring, err := MakeRing(dir)
				if err != nil {
					t.Error(err)
				}
				results <- ring
			}()
			go func() {
				<-start
				for {
					_, found, err := LoadRing(dir)
					if err != nil || found {
						readers <- err
						return
					}
				}
			}()
		}
		close(start)
		first := <-results
		for range makers - 1 {
			if ring := <-results; ring.Sealer() != first.Sealer() {
				t.Error("two makers have two keys")
			}
		}
		for range makers {
			if err := <-readers; err != nil {
				t.Errorf("a reader found the file incomplete: %v", err)
			}
		}
		onlyKeyFile(t, dir)
	}
}

// onlyKeyFile checks that nothing else with a key in it was left behind.
func onlyKeyFile(t *testing.T, dir string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != "master-keys" {
		t.Errorf("the directory holds %v, %v", files, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "master-keys")); errors.Is(err, fs.ErrNotExist) {
		t.Error("there is no master-keys")
	}
}
