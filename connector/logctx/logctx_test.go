package logctx_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"cloudsession/connector/logctx"
)

func TestLinesSayWhatTheyBelongTo(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(logctx.Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))).With("session", "personal")
	ctx := logctx.With(t.Context(), slog.String("request_id", "r1"))
	inner := logctx.With(ctx, slog.String("command", "c1"))
	log.Info("nobody's")
	log.InfoContext(ctx, "outer")
	log.InfoContext(inner, "inner", "own", 1)
	later, cancel := context.WithCancel(inner)
	cancel()
	later = logctx.Onto(t.Context(), later)
	log.InfoContext(later, "later", "ended", later.Err() != nil)
	want := `level=INFO msg=nobody's session=personal
level=INFO msg=outer session=personal request_id=r1
level=INFO msg=inner session=personal own=1 request_id=r1 command=c1
level=INFO msg=later session=personal ended=false request_id=r1 command=c1
`
	if out.String() != want {
		t.Errorf("logged\n%swant\n%s", out.String(), want)
	}
	if logctx.Has(t.Context()) || logctx.Has(logctx.Onto(inner, t.Context())) || !logctx.Has(inner) {
		t.Error("Has is wrong")
	}
}
