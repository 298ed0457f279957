package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"cloudsession/infra/local/flock"
	"cloudsession/infra/local/gateway"
	"cloudsession/infra/local/tidbproc"
)

// Root finds the repository's top folder, upwards from the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "template.yaml")); err == nil {
			return dir, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("look for the repository: %w", err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the repository: the working directory is outside of it")
		}
		dir = parent
	}
}

var (
	buildOnce sync.Once
	errBuild  error
)

// Build makes everything a Stack starts: the engine, the connector and the
// functions' bootstraps, with production's flags for this machine. It does so
// once a process; go build decides what there is to do.
func Build(ctx context.Context, out io.Writer) error {
	buildOnce.Do(func() {
		if _, errBuild = tidbproc.Build(ctx, out); errBuild == nil {
			errBuild = BuildPrograms(ctx)
		}
	})
	return errBuild
}

// BuildPrograms makes the connector (.build/bin/connector, or connector-race) and
// the functions (.build/lambda/<name>/bootstrap).
func BuildPrograms(ctx context.Context) error {
	root, err := Root()
	if err != nil {
		return err
	}
	mains, err := filepath.Glob(filepath.Join(root, "functions", "*", "main.go"))
	if err != nil {
		return fmt.Errorf("look for functions: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(root, ".build"), 0o755); err != nil { //nolint:gosec // G301: programs, which anybody may read
		return fmt.Errorf("create folder for programs: %w", err)
	}
	unlock, err := flock.Wait(filepath.Join(root, ".build", "programs.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	flags := []string{"build", "-trimpath", "-ldflags", "-s -w"}
	if err := buildConnector(ctx, root, flags); err != nil {
		return err
	}
	for _, file := range mains {
		name := filepath.Base(filepath.Dir(file))
		args := slices.Concat(flags, []string{"-tags", "lambda.norpc", "-o", bootstrap(".", name), "./functions/" + name})
		if err := goTool(ctx, root, "CGO_ENABLED=0", args); err != nil {
			return err
		}
	}
	return nil
}

// RaceVariable in the environment makes Build build, and a Stack start, a connector
// with the race detector, which needs a C compiler: `make test` sets it where there
// is one for some of the tests with real processes. It holds the flags of go build
// for that, "-race" at least.
const RaceVariable = "CLOUDSESSION_RACE"

func buildConnector(ctx context.Context, root string, flags []string) error {
	cgo := "CGO_ENABLED=0"
	if race := strings.Fields(os.Getenv(RaceVariable)); len(race) > 0 {
		cgo = "CGO_ENABLED=1"
		flags = slices.Concat([]string{"build", "-trimpath"}, race)
	}
	return goTool(ctx, root, cgo, append(flags, "-o", connectorFile(), "./connector"))
}

// connectorFile is the program's path in the repository. Tests with the detector run
// beside others without.
func connectorFile() string {
	name := "connector"
	if os.Getenv(RaceVariable) != "" {
		name = "connector-race"
	}
	return filepath.Join(".build", "bin", name)
}

func goTool(ctx context.Context, root, cgo string, args []string) error {
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // names from our own template
	cmd.Dir = root
	cmd.Env = append(os.Environ(), cgo)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", args[len(args)-1], err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}

// functions gives one route of each function.
func functions(routes []gateway.Route) (one []gateway.Route) {
	for _, r := range routes {
		if !slices.ContainsFunc(one, func(o gateway.Route) bool { return o.Function == r.Function }) {
			one = append(one, r)
		}
	}
	return one
}

func bootstrap(root, function string) string {
	return filepath.Join(root, ".build", "lambda", function, "bootstrap")
}

// built says what to do when a program is not there.
func built(program string) error {
	if _, err := os.Stat(program); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not built yet: run `make build`", program)
	} else if err != nil {
		return fmt.Errorf("look for program: %w", err)
	}
	return nil
}
