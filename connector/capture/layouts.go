package capture

import (
	"slices"
	"sync"
)

// layouts are the layouts that this process has read, by fingerprint. What a
// table looks like follows from the statement that made it, so that files with
// the same statements share a layout: it is a tenth of what an idle session
// holds, and reading it takes a few milliseconds, which counts when a thousand
// sessions are restored at once.
var layouts = shared{byPrint: map[string]*layout{}}

// maxLayouts bounds what is kept. A process sees one schema, or two around an
// upgrade of whatsmeow.
const maxLayouts = 8

type shared struct {
	sync.Mutex
	byPrint map[string]*layout
}

// find returns the layout with l's statements and versions; nil if none is known.
func (s *shared) find(l *layout) *layout {
	s.Lock()
	defer s.Unlock()
	known := s.byPrint[l.fingerprint]
	if known == nil || !known.same(l) {
		return nil
	}
	return known
}

// same reports whether l and other are made by the same statements.
func (l *layout) same(other *layout) bool {
	return l.version == other.version && l.compat == other.compat && slices.Equal(l.ddl, other.ddl)
}

// keep lets others share l.
func (s *shared) keep(l *layout) {
	s.Lock()
	defer s.Unlock()
	if len(s.byPrint) >= maxLayouts {
		clear(s.byPrint)
	}
	s.byPrint[l.fingerprint] = l
}
