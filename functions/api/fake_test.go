package api_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// errDown is what the fake says when it is told to be out of reach, and what
// no caller may ever see.
var errDown = fmt.Errorf("dial tcp 10.1.2.3:4000 user=root password=hunter2: %w", context.DeadlineExceeded)

// fakeCloud is a database in memory. Fault hooks: fail is asked before every
// operation, by name.
type fakeCloud struct {
	mu         sync.Mutex
	sessions   map[string]cloudstore.Status
	owners     map[string]cloudstore.Owner
	connectors []cloudstore.Connector
	commands   map[string]cloudstore.Command
	looks      int // calls of Command
	fail       func(op string) error
}

func newFakeCloud() *fakeCloud {
	return &fakeCloud{
		sessions: map[string]cloudstore.Status{},
		owners:   map[string]cloudstore.Owner{},
		commands: map[string]cloudstore.Command{},
	}
}

var (
	tCreated = time.Date(2026, 1, 20, 8, 15, 30, 0, time.UTC)
	tUpdated = time.Date(2026, 1, 22, 10, 30, 45, 999_999_000, time.UTC)
)

// add puts a session into the cloud, held by the connector unless that is "".
func (f *fakeCloud) add(id, connector string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	synced := tUpdated
	f.sessions[id] = cloudstore.Status{
		Session:     cloudstore.Session{SessionID: id, LastSyncedAt: &synced, CreatedAt: tCreated, UpdatedAt: tUpdated},
		ConnectorID: connector,
	}
	if connector != "" {
		f.owners[id] = cloudstore.Owner{SessionID: id, ConnectorID: connector, Epoch: 1}
	}
}

// connect adds a live connector.
func (f *fakeCloud) connect(id string, change ...func(*cloudstore.Connector)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := cloudstore.Connector{ID: id, Live: true, QueueURL: "queue of " + id, Capacity: 10}
	for _, fn := range change {
		fn(&c)
	}
	f.connectors = append(f.connectors, c)
}

func (f *fakeCloud) enter(op string) (func(), error) {
	f.mu.Lock()
	if f.fail != nil {
		if err := f.fail(op); err != nil {
			f.mu.Unlock()
			return nil, err
		}
	}
	return f.mu.Unlock, nil
}

func (f *fakeCloud) ListSelected(_ context.Context, which *cloudstore.Selection, limit int, cursor string) ([]cloudstore.Session, string, error) {
	leave, err := f.enter("ListSelected")
	if err != nil {
		return nil, "", err
	}
	defer leave()
	after, err := hex.DecodeString(cursor)
	if err != nil {
		return nil, "", fmt.Errorf("list: %w", cloudstore.ErrBadCursor)
	}
	var ids []string
	for id := range f.sessions {
		if id > string(after) && which.Has(id) {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	next := ""
	if len(ids) > limit {
		ids, next = ids[:limit], fakeCursor(ids[limit-1])
	}
	var page []cloudstore.Session
	for _, id := range ids {
		page = append(page, f.sessions[id].Session)
	}
	return page, next, nil
}

func fakeCursor(id string) string { return hex.EncodeToString([]byte(id)) }

func (f *fakeCloud) SessionStatus(_ context.Context, id string) (cloudstore.Status, error) {
	leave, err := f.enter("SessionStatus")
	if err != nil {
		return cloudstore.Status{}, err
	}
	defer leave()
	s, ok := f.sessions[id]
	if !ok {
		return s, fmt.Errorf("session %q: %w", id, cloudstore.ErrNotFound)
	}
	return s, nil
}

func (f *fakeCloud) DeleteSession(_ context.Context, id string) error {
	leave, err := f.enter("DeleteSession")
	if err != nil {
		return err
	}
	defer leave()
	if _, ok := f.sessions[id]; !ok {
		return fmt.Errorf("session %q: %w", id, cloudstore.ErrNotFound)
	}
	delete(f.sessions, id)
	return nil
}

func (f *fakeCloud) Owner(_ context.Context, id string) (cloudstore.Owner, error) {
	leave, err := f.enter("Owner")
	if err != nil {
		return cloudstore.Owner{}, err
	}
	defer leave()
	o, ok := f.owners[id]
	if !ok {
		return o, fmt.Errorf("owner of %q: %w", id, cloudstore.ErrNotFound)
	}
	return o, nil
}

func (f *fakeCloud) Connectors(context.Context) ([]cloudstore.Connector, error) {
	leave, err := f.enter("Connectors")
	if err != nil {
		return nil, err
	}
	defer leave()
	return append([]cloudstore.Connector(nil), f.connectors...), nil
}

func (f *fakeCloud) CreateCommand(_ context.Context, c cloudstore.Command) (cloudstore.Command, bool, error) {
	leave, err := f.enter("CreateCommand")
	if err != nil {
		return cloudstore.Command{}, false, err
	}
	defer leave()
	own := 0
	for _, old := range f.commands {
		unfinished := old.State == cloudstore.CommandQueued || old.State == cloudstore.CommandRunning
		if unfinished && old.RequestedBy == c.RequestedBy {
			own++
		}
		joins := unfinished && (old.State == cloudstore.CommandQueued || c.Kind != cloudstore.CommandSync)
		if joins && old.SessionID == c.SessionID && old.Kind == c.Kind && bytes.Equal(old.Args, c.Args) {
			return old, false, nil
		}
	}
	if own >= c.MaxUnfinished {
		return cloudstore.Command{}, false, cloudstore.ErrTooManyCommands
	}
	c.MaxUnfinished = 0 // it is no part of the row
	f.commands[c.ID] = c
	return c, true, nil
}

func (f *fakeCloud) Command(_ context.Context, id string) (cloudstore.Command, error) {
	leave, err := f.enter("Command")
	if err != nil {
		return cloudstore.Command{}, err
	}
	defer leave()
	f.looks++
	c, ok := f.commands[id]
	if !ok {
		return c, fmt.Errorf("command %s: %w", id, cloudstore.ErrNotFound)
	}
	return c, nil
}

// move changes a command as a connector would.
func (f *fakeCloud) move(id, state string, change ...func(*cloudstore.Command)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.commands[id]
	c.State = state
	for _, fn := range change {
		fn(&c)
	}
	f.commands[id] = c
}

// only returns the one command there is.
func (f *fakeCloud) only() (cloudstore.Command, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.commands) != 1 {
		return cloudstore.Command{}, fmt.Errorf("there are %d commands", len(f.commands))
	}
	for _, c := range f.commands {
		return c, nil
	}
	panic("unreachable")
}

// fakeQueue records messages and hands each to on, if there is one.
type fakeQueue struct {
	mu   sync.Mutex
	sent []sent
	err  error
	on   func(url string, m command.Message)
}

type sent struct {
	URL string
	command.Message
}

func (q *fakeQueue) Send(_ context.Context, url string, m command.Message) error {
	q.mu.Lock()
	err, on := q.err, q.on
	if err == nil {
		q.sent = append(q.sent, sent{url, m})
	}
	q.mu.Unlock()
	if err == nil && on != nil {
		on(url, m)
	}
	return err
}

func (q *fakeQueue) messages() []sent {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]sent(nil), q.sent...)
}

var errQueueDown = errors.New("dial tcp: lookup sqs.ap-southeast-1.amazonaws.com: no such host")
