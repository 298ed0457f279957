// Package logctx carries in a context what log lines belong to, such as the
// request whose command is being carried out, so that every line that is logged
// with that context says so, however deep down.
package logctx

import (
	"context"
	"log/slog"
	"slices"
)

type key struct{}

// With returns a context whose log lines have these attributes, too.
func With(ctx context.Context, attrs ...slog.Attr) context.Context {
	return context.WithValue(ctx, key{}, slices.Concat(of(ctx), attrs))
}

// Onto returns ctx with the attributes of from: for work that goes on when from
// has ended.
func Onto(ctx, from context.Context) context.Context {
	return context.WithValue(ctx, key{}, of(from))
}

// Has reports whether ctx has attributes.
func Has(ctx context.Context) bool { return len(of(ctx)) > 0 }

func of(ctx context.Context) []slog.Attr {
	attrs, _ := ctx.Value(key{}).([]slog.Attr)
	return attrs
}

// Handler adds the attributes of each line's context to what h gets.
func Handler(h slog.Handler) slog.Handler { return handler{h} }

type handler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if attrs := of(ctx); len(attrs) > 0 {
		r = r.Clone()
		r.AddAttrs(attrs...)
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name)} }
