package chaos

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cloudsession/connector/control"
)

// A message is excused only if its session was said to be unprotected when it was
// acknowledged, and not to be protected again before the disk was lost.
func TestExcuseFollowsTheLog(t *testing.T) {
	const lost, again = `level=WARN msg="session is unprotected: TiDB does not answer" session="session 0.1" error=x`,
		`level=INFO msg="session is protected again: TiDB has everything" session="session 0.1"`
	for name, c := range map[string]struct {
		said    []string
		session string
		excused bool
	}{
		"said":                     {[]string{lost[:40], lost[40:] + "\n"}, "session 0.1", true},
		"said of another":          {[]string{lost + "\n"}, "session 1.1", false},
		"said, and taken back":     {[]string{lost + "\n", again + "\n"}, "session 0.1", false},
		"said for the second time": {[]string{lost + "\n" + again + "\n" + lost + "\n"}, "session 0.1", true},
		"nothing said":             {[]string{again + "\n"}, "session 0.1", false},
	} {
		t.Run(name, func(t *testing.T) {
			log, err := os.Create(filepath.Join(t.TempDir(), "log"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = log.Close() }()
			m := &machine{log: log}
			hears := &sayings{m: m}
			for _, text := range c.said {
				if _, err := io.WriteString(hears, text); err != nil {
					t.Fatal(err)
				}
			}
			for i := range m.periods { // all that is long ago
				m.periods[i].from = m.periods[i].from.Add(-time.Hour)
				if !m.periods[i].until.IsZero() {
					m.periods[i].until = m.periods[i].until.Add(-time.Hour)
				}
			}
			written := time.Now()
			m.lostDisk()
			if got := m.lostAfter(c.session, written); got != c.excused {
				t.Errorf("excused: %v", got)
			}
			if m.lostAfter(c.session, time.Now()) {
				t.Error("excused by a loss that came before")
			}
		})
	}
}

// A connector that was killed never says that a session is protected again. When
// all of it was found to be in TiDB, what its machine loses later is no excuse,
// unless the session is unprotected still.
func TestExcuseEndsAtQuietMoment(t *testing.T) {
	for name, c := range map[string]struct {
		still   string
		asked   time.Duration // after it was said
		excused bool
	}{
		"protected":           {"", 10 * time.Minute, false},
		"unprotected still":   {"TiDB does not answer", 10 * time.Minute, true},
		"asked before it was": {"", -10 * time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			said := time.Now().Add(-time.Hour)
			m := &machine{
				periods:  []period{{session: "session 0.1", from: said}},
				sessions: map[string]control.Session{"session 0.1": {Unprotected: c.still}},
				askedAt:  said.Add(c.asked),
			}
			m.durable("session 0.1")
			if p := &m.periods[0]; !p.until.IsZero() { // that is long ago
				p.until = said.Add(c.asked)
			}
			written := time.Now()
			m.lostDisk()
			if got := m.lostAfter("session 0.1", written); got != c.excused {
				t.Errorf("excused: %v", got)
			}
		})
	}
}
