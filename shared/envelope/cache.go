package envelope

import (
	"container/list"
	"sync"
)

// maxCached bounds the derived keys held, about 400 bytes each: the sessions
// of a full connector and of those it may have to take over, many times.
const maxCached = 16_384

// cache holds the most recently used keys. Two callers that want the same keys
// at once derive them once.
type cache struct {
	mu     sync.Mutex
	max    int
	byName map[keyName]*list.Element // of *entry
	recent *list.List                // most recently used first
}

type keyName struct {
	secret    *secret
	sessionID string
	salt      Salt
}

type entry struct {
	name keyName
	keys func() sealingKeys
}

func newCache(limit int) *cache {
	return &cache{max: limit, byName: map[keyName]*list.Element{}, recent: list.New()}
}

func (c *cache) keys(s *secret, sessionID string, salt Salt) sealingKeys {
	return c.entry(keyName{s, sessionID, salt}).keys()
}

func (c *cache) entry(name keyName) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.byName[name]; ok {
		c.recent.MoveToFront(el)
		return el.Value.(*entry)
	}
	e := &entry{name: name, keys: sync.OnceValue(func() sealingKeys {
		return deriveKeys(name.secret.value, name.sessionID, name.salt)
	})}
	c.byName[name] = c.recent.PushFront(e)
	if c.recent.Len() > c.max {
		oldest := c.recent.Back()
		c.recent.Remove(oldest)
		delete(c.byName, oldest.Value.(*entry).name)
	}
	return e
}
