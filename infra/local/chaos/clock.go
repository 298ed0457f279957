package chaos

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"cloudsession/infra/local/stack"
)

// A process can't be given a wall clock of its own from outside: time namespaces
// have none, and Go asks the kernel without a library in between. So the
// connector is built with a package time whose Now adds a number that it finds
// in a file, read anew each time. What the kernel calls monotonic and boot time
// stays as it is, as when somebody sets a machine's clock.

const (
	clockVariable = "CHAOS_CLOCK"
	clockLine     = "sec, nsec, mono := runtimeNow()\n\tif mono == 0 {"
	clockStepped  = "sec, nsec, mono := runtimeNow()\n\tsec += clockStep()\n\tif mono == 0 {"
	clockSource   = `package time

import (
	"syscall"
	"unsafe"
)

var clockSeconds *int64

func init() {
	path, ok := syscall.Getenv("` + clockVariable + `")
	if !ok {
		return
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("open clock: " + err.Error())
	}
	page, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("map clock: " + err.Error())
	}
	clockSeconds = (*int64)(unsafe.Pointer(&page[0]))
}

func clockStep() int64 {
	if clockSeconds == nil {
		return 0
	}
	return *clockSeconds
}
`
)

// BuildWithClock builds, in dir, a connector whose clock can be stepped, and
// returns its path. The first build takes some minutes: everything is compiled
// anew over the other package time.
func BuildWithClock(ctx context.Context, dir string) (program string, err error) {
	root, err := stack.Root()
	if err != nil {
		return "", err
	}
	overlay, err := clockOverlay(ctx, dir)
	if err != nil {
		return "", err
	}
	program = filepath.Join(dir, "connector-clock")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-overlay", overlay, "-o", program, "./connector") //nolint:gosec // G204: paths of our own
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build connector with a clock: %w\n%s", err, out)
	}
	return program, nil
}

// clockOverlay writes the changed sources and returns the file that go build
// takes them by.
func clockOverlay(ctx context.Context, dir string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go's sources: %w", err)
	}
	folder := filepath.Join(string(bytes.TrimSpace(out)), "src", "time")
	source, err := os.ReadFile(filepath.Join(folder, "time.go"))
	if err != nil {
		return "", fmt.Errorf("read package time: %w", err)
	}
	changed := bytes.Replace(source, []byte(clockLine), []byte(clockStepped), 1)
	if bytes.Equal(changed, source) {
		return "", errors.New("package time is not as expected: Now has changed")
	}
	files := map[string]string{
		filepath.Join(folder, "time.go"):      filepath.Join(dir, "time.go.txt"),
		filepath.Join(folder, "clockstep.go"): filepath.Join(dir, "clockstep.go.txt"),
	}
	list, err := json.Marshal(map[string]any{"Replace": files})
	if err != nil {
		return "", fmt.Errorf("list changed sources: %w", err)
	}
	for name, content := range map[string][]byte{"time.go.txt": changed, "clockstep.go.txt": []byte(clockSource), "overlay.json": list} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", fmt.Errorf("write changed sources: %w", err)
		}
	}
	return filepath.Join(dir, "overlay.json"), nil
}

// clock is one machine's wall clock, as far as it differs from this one's.
type clock struct{ path string }

// set makes the clock show so much more than it is, in whole seconds.
func (c clock) set(ahead time.Duration) error {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], uint64(int64(ahead/time.Second)))
	// Written in place: the running process has the file mapped.
	f, err := os.OpenFile(c.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("set clock: %w", err)
	}
	_, err = f.WriteAt(b[:], 0)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set clock: %w", err)
	}
	return nil
}
