package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"cloudsession/infra/local/lambdaemu"
	"cloudsession/infra/local/stack"
)

const coldStarts = 20

// coldStart measures a Lambda from the start of its process to its first
// response, a list of sessions from TiDB.
func coldStart(b *bench, ctx context.Context) (_ []row, err error) {
	fmt.Fprintln(b.progress, "measuring Lambda cold starts …")
	dir, err := os.MkdirTemp("", "cloudsession-bench-*")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := stack.Start(ctx, stack.Options{Dir: dir, Built: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	token, err := s.Token()
	if err != nil {
		return nil, err
	}
	event, err := os.ReadFile("infra/events/list.json")
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	event = bytes.ReplaceAll(event, []byte("${TOKEN}"), []byte(token))
	binary, err := stack.Bootstrap("list-sessions")
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(binary)
	if err != nil {
		return nil, fmt.Errorf("look at binary: %w", err)
	}
	took := make([]time.Duration, 0, coldStarts)
	for range coldStarts {
		d, err := startOnce(ctx, binary, functionEnv(s), event)
		if err != nil {
			return nil, err
		}
		took = append(took, d)
	}
	slices.Sort(took)
	slowest, size := took[len(took)-1], float64(info.Size())/1e6
	return []row{{
		what: "Lambda cold start, process to first response, GET /cloud/sessions",
		measured: fmt.Sprintf("p50 %s, slowest %s; binary %.1f MB", took[len(took)/2].Round(100*time.Microsecond),
			slowest.Round(100*time.Microsecond), size),
		target: "≤ 100 ms; binary ≤ 15 MB",
		met:    slowest <= 100*time.Millisecond && size <= 15,
		how: fmt.Sprintf("%d fresh processes behind the local Runtime API, database connection included; binary for this machine",
			coldStarts),
	}}, nil
}

// functionEnv is what a function needs to reach the stack's database.
func functionEnv(s *stack.Stack) []string {
	cfg := s.StoreConfig()
	return []string{
		"TIDB_HOST=" + cfg.Host, fmt.Sprintf("TIDB_PORT=%d", cfg.Port), "TIDB_USER=" + cfg.User,
		"TIDB_PASSWORD=" + cfg.Password, "TIDB_DATABASE=" + cfg.Database, "JWT_SECRET=" + s.JWTSecret(),
	}
}

func startOnce(ctx context.Context, binary string, env []string, event []byte) (time.Duration, error) {
	host, err := lambdaemu.New(lambdaemu.Options{Functions: []lambdaemu.Function{{Name: "list-sessions", Binary: binary, Env: env}}})
	if err != nil {
		return 0, err
	}
	defer host.Close()
	start := time.Now()
	result, err := host.Invoke(ctx, "list-sessions", event)
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	if !strings.Contains(string(result.Payload), `"statusCode":200`) {
		return 0, fmt.Errorf("the function answered %s", result.Payload)
	}
	return took, nil
}
