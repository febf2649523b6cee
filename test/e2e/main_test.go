// Package e2e states jethook's promises as tests against the real binary, a
// real nats-server and real sockets.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The programs under test, built once.
var jethookBinary, natsBinary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "jethook-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	jethookBinary, natsBinary = filepath.Join(dir, "jethook"), filepath.Join(dir, "nats-server")
	for program, source := range map[string]string{jethookBinary: "jethook/cmd/jethook", natsBinary: "github.com/nats-io/nats-server/v2"} {
		cmd := exec.CommandContext(context.Background(), "go", "build", "-o", program, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", source, err, out)
			return 1
		}
	}
	// The tests wait for AckWait and for backoffs far more than they compute.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// TestTheProgramIsTheOneInThisTree looks at the program's sources, so that go
// test knows what the results depend on: it saw nothing of the build above, and
// would show those of an older program as cached.
func TestTheProgramIsTheOneInThisTree(t *testing.T) {
	seen := 0
	for _, dir := range []string{"cmd", "config", "pkg", "streams", "go.mod", "go.sum"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			seen++
			_, err = os.Stat(path) // this is what go test takes note of
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 100 {
		t.Errorf("only %d files: has the tree another shape?", seen)
	}
}
