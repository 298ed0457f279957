package capture

import (
	"fmt"
	"testing"
)

// Files of one schema share its layout, and one that differs by as little as a
// version has its own.
func TestLayoutsAreShared(t *testing.T) {
	a, b, c := newSession(t, 1), newSession(t, 2), newSession(t, 3)
	exec(t, c.File, "UPDATE whatsmeow_version SET version = version + 1")
	install(t, c.File)
	if a.layout != b.layout {
		t.Error("two files of one schema have a layout each")
	}
	if c.layout == a.layout || c.layout.version != a.layout.version+1 {
		t.Error("a file of another version shares the layout")
	}
	exec(t, b.File, "ALTER TABLE whatsmeow_contacts ADD COLUMN username TEXT")
	install(t, b.File)
	if columns := b.layout.find("whatsmeow_contacts").Columns; columns[len(columns)-1] != "username" {
		t.Errorf("columns after the change: %v", columns)
	}
}

func TestLayoutsAreBounded(t *testing.T) {
	s := shared{byPrint: map[string]*layout{}}
	for i := range 3 * maxLayouts {
		l := &layout{version: i, fingerprint: fmt.Sprint(i)}
		s.keep(l)
		if s.find(l) != l || len(s.byPrint) > maxLayouts {
			t.Fatalf("%d kept", len(s.byPrint))
		}
	}
	if s.find(&layout{version: 3, fingerprint: fmt.Sprint(3*maxLayouts - 1)}) != nil {
		t.Error("another layout of the same fingerprint was found")
	}
}
