package whatsapp

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"go.mau.fi/libsignal/logger"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
	waLog "go.mau.fi/whatsmeow/util/log"
)

// logAdapter passes whatsmeow's log lines on to slog.
//
// Of whatsmeow's own lines, debug ones hold whole stanzas ("Recv" and "Send"), undecodable frames, and the QR code
// itself ("Emitting QR code"); info ones hold JIDs, that is phone numbers ("Successfully paired", "Migrated …
// sessions"); and even warnings hold whole stanzas ("Node handling took", "Unknown stream error", "Unknown connect
// failure"), JIDs (all about a message's sender or recipient) and parse errors that quote their input. So debug and
// info are dropped, and the arguments of the rest are reduced to what can't be content: see redact. Config.Debug
// turns all of that off.
type logAdapter struct {
	log    *slog.Logger
	module string
	raw    bool
	// complained is told what whatsmeow warns of, in its goroutine; nil: nobody.
	complained func(msg string, args []any)
}

var _ waLog.Logger = (*logAdapter)(nil)

// Errorf implements waLog.Logger.
func (a *logAdapter) Errorf(msg string, args ...any) { a.out(slog.LevelError, msg, args) }

// Warnf implements waLog.Logger.
func (a *logAdapter) Warnf(msg string, args ...any) { a.out(slog.LevelWarn, msg, args) }

// Infof implements waLog.Logger.
func (a *logAdapter) Infof(msg string, args ...any) { a.out(slog.LevelInfo, msg, args) }

// Debugf implements waLog.Logger.
func (a *logAdapter) Debugf(msg string, args ...any) { a.out(slog.LevelDebug, msg, args) }

// Sub implements waLog.Logger.
func (a *logAdapter) Sub(module string) waLog.Logger {
	return &logAdapter{log: a.log, module: a.module + "/" + module, raw: a.raw, complained: a.complained}
}

func (a *logAdapter) out(level slog.Level, msg string, args []any) {
	if level >= slog.LevelWarn && a.complained != nil {
		a.complained(msg, args)
	}
	if !a.raw && level < slog.LevelWarn {
		return
	}
	ctx := context.Background()
	if !a.log.Enabled(ctx, level) {
		return
	}
	if !a.raw {
		reduced := make([]any, len(args))
		for i, arg := range args {
			reduced[i] = redact(arg)
		}
		args = reduced
	}
	a.log.Log(ctx, level, "whatsmeow: "+fmt.Sprintf(msg, args...), "module", a.module)
}

// redact makes of a log line's argument what may be logged: numbers and durations as they are, the name of a stanza
// without attributes and content, texts without addresses, and of everything else the type.
func redact(arg any) any {
	switch v := arg.(type) {
	case nil, bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float64, time.Duration, time.Time:
		return v
	case types.JID:
		return redacted{"<" + v.Server + " address>"}
	case *types.JID:
		if v == nil {
			return redacted{"<no address>"}
		}
		return redacted{"<" + v.Server + " address>"}
	case *waBinary.Node:
		if v == nil {
			return redacted{"<no stanza>"}
		}
		return redacted{"<" + v.Tag + " stanza>"}
	case waBinary.Node:
		return redacted{"<" + v.Tag + " stanza>"}
	case string:
		return redacted{scrub(v)}
	case error:
		return redacted{scrub(v.Error())}
	default:
		return redacted{fmt.Sprintf("<%T>", v)}
	}
}

// redacted prints as its text under every verb, so that %d, %X and %s alike can't bring the argument back.
type redacted struct{ text string }

// Format implements fmt.Formatter.
func (r redacted) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(r.text)) }

var (
	// A JID, a Signal address (number, _1 for a LID, device), a phone number.
	addressPattern = regexp.MustCompile(`[0-9][0-9-]{4,}(_[0-9]+)?([.:][0-9]+)*@[a-z.]+|\b[0-9]{5,}(_[0-9]+)?[.:][0-9]+\b|\+?\b[0-9]{7,}\b`)
	// What an error quotes or prints as bytes: stanzas, frames, parts of messages.
	contentPattern = regexp.MustCompile(`(?s)<[^<>]*[ >].*>|"[^"]{24,}"|\b[0-9a-fA-F]{40,}\b|[A-Za-z0-9+/_-]{43,}={0,2}`)
)

// scrub takes addresses, stanzas and what may be keys out of a text.
func scrub(text string) string {
	text = contentPattern.ReplaceAllString(text, "…")
	return addressPattern.ReplaceAllString(text, "…")
}

// quietSignal silences libsignal, which otherwise prints warnings to standard output for every message that one of
// several session states can't decrypt. What matters of them comes back as errors.
type quietSignal struct{}

// Debug implements logger.Loggable.
func (quietSignal) Debug(string, string) {}

// Info implements logger.Loggable.
func (quietSignal) Info(string, string) {}

// Warning implements logger.Loggable.
func (quietSignal) Warning(string, string) {}

// Error implements logger.Loggable.
func (quietSignal) Error(string, string) {}

// Configure implements logger.Loggable.
func (quietSignal) Configure(string) {}

var silenceSignal = sync.OnceFunc(func() {
	var quiet logger.Loggable = quietSignal{}
	logger.Setup(&quiet)
})
