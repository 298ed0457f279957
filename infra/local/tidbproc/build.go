package tidbproc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Build makes the engine's binary, .build/bin/tidb under the module's root, and
// returns its path. `go build` decides whether there is anything to do; out
// hears of it only when it takes more than a few seconds. Builds of several
// processes at once wait for each other.
func Build(ctx context.Context, out io.Writer) (binary string, err error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, ".build", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil { //nolint:gosec // G301: programs, which anybody may read
		return "", fmt.Errorf("create folder for the engine: %w", err)
	}
	unlock, err := lock(filepath.Join(root, ".build", "tidb.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()

	binary = filepath.Join(bin, "tidb")
	cmd := onEngine(ctx, root, "go", "build", "-ldflags", "-s -w", "-o", binary, "./...")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	done := reportSlow(out)
	err = cmd.Run()
	done(err == nil)
	if err != nil {
		return "", fmt.Errorf("build the database engine: %w\n%s", err, bytes.TrimSpace(output.Bytes()))
	}
	return binary, nil
}

// unused is what the engine links and no statement goes through here: clients of object
// stores and key services, Kubernetes, backup, bulk import and its file formats, tracing,
// encodings that are not UTF-8. It is over a third of the engine's sources.
var unused = []string{
	"cloud.google.com/go/...", "google.golang.org/api/...", "github.com/googleapis/...",
	"github.com/aws/...", "github.com/aliyun/...", "github.com/ks3sdklib/...",
	"github.com/Azure/...", "github.com/AzureAD/...", "k8s.io/...",
	"github.com/pingcap/tidb/br/...", "github.com/pingcap/tidb/pkg/lightning/...", "github.com/cockroachdb/pebble/...",
	"github.com/apache/...", "github.com/xitongsys/...", "github.com/andybalholm/brotli/...", "github.com/goccy/go-json/...",
	"github.com/uber/...", "go.opentelemetry.io/...", "go.etcd.io/...", "github.com/lestrrat-go/...",
	"golang.org/x/text/encoding/...", "github.com/rivo/uniseg/...",
}

// onEngine is a program that compiles, or has compiled, the engine's packages. What is
// unused is compiled without optimising it, which takes less than half the time. All
// programs have to ask for that, or they compile the engine each in their own way.
func onEngine(ctx context.Context, root, program string, args ...string) *exec.Cmd {
	flags := []string{os.Getenv("GOFLAGS"), "-trimpath"}
	for _, packages := range unused {
		flags = append(flags, "'-gcflags="+packages+"=-N -l -dwarf=false'")
	}
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // G204: our own arguments
	cmd.Dir = filepath.Join(root, "infra", "tidb")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS="+strings.Join(flags, " "))
	return cmd
}

// Check runs go vet and the tests of the engine's module, which say on out what is wrong.
func Check(ctx context.Context, out io.Writer) error {
	return runOnEngine(ctx, out, []string{"go", "vet", "./..."}, []string{"go", "test", "./..."})
}

// Lint runs golangci-lint, whose path is linter, on the engine's module.
func Lint(ctx context.Context, out io.Writer, linter string) error {
	linter, err := filepath.Abs(linter)
	if err != nil {
		return fmt.Errorf("find the linter: %w", err)
	}
	return runOnEngine(ctx, out, []string{linter, "run", "--allow-parallel-runners", "./..."})
}

func runOnEngine(ctx context.Context, out io.Writer, commands ...[]string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	for _, command := range commands {
		cmd := onEngine(ctx, root, command[0], command[1:]...)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s %s on the database engine: %w", filepath.Base(command[0]), command[1], err)
		}
	}
	return nil
}

// reportSlow tells out what is going on while a build takes long.
func reportSlow(out io.Writer) (done func(ok bool)) {
	start := time.Now()
	stop, stopped := make(chan struct{}), make(chan struct{})
	told := false
	go func() {
		defer close(stopped)
		timer := time.NewTimer(5 * time.Second)
		defer timer.Stop()
		for {
			select {
			case <-stop:
				return
			case <-timer.C:
			}
			if told {
				fmt.Fprintf(out, "tidb: still building, %s so far\n", time.Since(start).Round(time.Second))
			} else {
				fmt.Fprintln(out, "tidb: building the database engine; the first time takes some minutes")
				told = true
			}
			timer.Reset(20 * time.Second)
		}
	}()
	return func(ok bool) {
		close(stop)
		<-stopped
		if told && ok {
			fmt.Fprintf(out, "tidb: built in %s\n", time.Since(start).Round(time.Second))
		}
	}
}

// moduleRoot finds the folder that holds infra/tidb, upwards from the working
// directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	for {
		_, err := os.Stat(filepath.Join(dir, "infra", "tidb", "go.mod"))
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("look for the engine's source: %w", err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the engine's source: the working directory is outside the repository; set TIDB_HOST to use another database")
		}
		dir = parent
	}
}

// lock takes an exclusive lock on a file, waiting for whoever holds it.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open build lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("take build lock: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
