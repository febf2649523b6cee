package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a part that runs on its own.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *bufio.Reader
	log  *os.File
}

// start starts a program with its log in the benchmark's directory.
func (b *bench) start(ctx context.Context, name string, env []string, program string, args ...string) (*process, error) {
	log, err := os.OpenFile(b.path(name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = environment(env)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nothing outlives the benchmark
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &process{name: name, cmd: cmd, out: bufio.NewReader(out), log: log}, nil
}

// environment is the environment without what would change the benchmark, and
// with what is given.
func environment(given []string) []string {
	own := slices.DeleteFunc(os.Environ(), func(line string) bool {
		return strings.HasPrefix(line, "NATS_") || strings.HasPrefix(line, "JETHOOK_")
	})
	return append(own, given...)
}

// line reads the next line that the process prints.
func (p *process) line() (string, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return "", errors.Join(fmt.Errorf("%s printed nothing: %w", p.name, err), p.wait())
	}
	return strings.TrimSpace(line), nil
}

// wait waits for the process to end by itself.
func (p *process) wait() error {
	_, err := io.Copy(io.Discard, p.out)
	if waitErr := p.cmd.Wait(); waitErr != nil {
		err = fmt.Errorf("%s: %w: %s", p.name, waitErr, tail(p.log.Name()))
	}
	return errors.Join(err, p.log.Close())
}

// stop asks the process to end and waits until it has.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	return p.wait()
}

// kill ends the process at once, as a crash does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it fails for one that has ended, which is as good
	_ = p.wait()             // says that it was killed
}

// figure runs a program of ours to its end and returns the figure that it
// prints.
func (b *bench) figure(ctx context.Context, name string, args ...string) (float64, error) {
	p, err := b.start(ctx, name, nil, b.self, append([]string{name}, args...)...)
	if err != nil {
		return 0, err
	}
	line, err := p.line()
	if err != nil {
		return 0, err
	}
	if err := p.wait(); err != nil {
		return 0, err
	}
	return strconv.ParseFloat(line, 64)
}

// cpu returns the processor time that the process has used.
func (p *process) cpu() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// Fields 14 and 15, counted behind the name, which may hold spaces.
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("unexpected /proc stat: %q", data)
	}
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	const perSecond = 100 // the kernel's USER_HZ
	return time.Duration(ticks) * time.Second / perSecond, nil
}

// memory returns a line of the process's status in MiB: VmRSS is the resident
// set now, VmHWM its peak.
func (p *process) memory(line string) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(l, line+":"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s for %s", line, p.name)
}

func tail(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}
