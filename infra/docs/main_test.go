package docs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloudsession/infra/local/leaktest"
	"cloudsession/infra/local/stack"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "curl" {
		os.Exit(curl(os.Args[1:]))
	}
	os.Exit(runTests(m))
}

// curl is this program under another name: as much of curl as the transcripts need,
// so that tests need no more than Go. What a text asks of the metrics' usual address
// goes to the one in METRICS.
func curl(args []string) int {
	address := strings.Replace(args[len(args)-1], "127.0.0.1:9464", os.Getenv("METRICS"), 1)
	res, err := http.Get(address)
	if err == nil {
		_, err = io.Copy(os.Stdout, res.Body)
		err = errors.Join(err, res.Body.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runTests(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	if err := stack.Build(ctx, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := leaktest.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
