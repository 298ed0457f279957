package replicate

import (
	"context"
	"log/slog"
	"sync"
)

// recorder keeps the lines logged, as "LEVEL message".
type recorder struct {
	mu  sync.Mutex
	got []string
}

func (r *recorder) logger() *slog.Logger { return slog.New(r) }

func (r *recorder) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got...)
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *recorder) WithGroup(string) slog.Handler            { return r }

func (r *recorder) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, rec.Level.String()+" "+rec.Message)
	return nil
}
