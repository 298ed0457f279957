package whatsapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.mau.fi/whatsmeow/types"
)

// unread is what could not be read and our own phone has still to be asked for. whatsmeow asks it at once and once
// only, logs it when that doesn't work, for want of a Signal session with the phone above all, and acknowledges the
// message. So each stands in the inbox as well, under markUnread, until it is asked for. Guarded by Session.mu.
type unread struct {
	list   []types.MessageInfo
	failed map[types.MessageID]struct{} // whatsmeow has said so, and its event about the message is about to come
}

// maxUnread bounds what is remembered.
const maxUnread = 1000

// unaskedWarning begins whatsmeow's word that it couldn't ask the phone. The message's id comes first in its arguments.
const unaskedWarning = "Failed to send request for unavailable message"

var errUnasked = errors.New("phone not asked for what couldn't be read")

// complained is told what whatsmeow warns of.
func (s *Session) complained(msg string, args []any) {
	s.guard.turn.end()
	if !strings.HasPrefix(msg, unaskedWarning) || len(args) == 0 {
		return
	}
	if id, ok := args[0].(types.MessageID); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.unread.failed == nil {
			s.unread.failed = make(map[types.MessageID]struct{})
		}
		s.unread.failed[id] = struct{}{}
	}
}

// noteUnread notes a message that could not be read if the phone hasn't been asked for it. During a safe start it may
// not even have got the request: it is asked again. An event handler calls it.
func (s *Session) noteUnread(info types.MessageInfo) {
	if !s.mustAsk(info.ID) {
		return
	}
	s.keepUnread(info)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unread.list = append(s.unread.list, info)
	if len(s.unread.list) == 1 && !s.safe.outstanding { // else it is on the way already
		s.mail.put(mail{kind: mailUnread})
	}
}

// mustAsk tells whether the phone has still to be asked for a message that could not be read.
func (s *Session) mustAsk(id types.MessageID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, failed := s.unread.failed[id]
	delete(s.unread.failed, id)
	if !failed && !s.safe.outstanding {
		return false
	}
	if len(s.unread.list) >= maxUnread {
		s.log.Error("too much is unread, the phone is not asked for this message", "message_id", id)
		return false
	}
	return true
}

// markUnread begins the names of the marks; the message's id follows.
const markUnread = "unread "

// unreadMark is the value of such a mark: what a request needs beside the id.
type unreadMark struct{ Chat, Sender types.JID }

// keepUnread records that the phone has to be asked for a message. Without a record it is asked by this process only.
func (s *Session) keepUnread(info types.MessageInfo) {
	value, err := json.Marshal(unreadMark{info.Chat, info.Sender})
	if err == nil {
		err = s.inbox.SetMark(s.ctx, markUnread+info.ID, string(value))
	}
	if err != nil {
		s.log.Error("unread message not recorded", "message_id", info.ID, "error", scrub(err.Error()))
	}
}

// loadUnread reads what an earlier process has left to be asked for.
func (s *Session) loadUnread(ctx context.Context) error {
	marks, err := s.inbox.Marks(ctx, markUnread)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(marks)) {
		var m unreadMark
		if err := json.Unmarshal([]byte(marks[name]), &m); err != nil {
			s.log.Error("record of an unread message can't be read", "name", name, "error", err)
			continue
		}
		s.unread.list = append(s.unread.list, types.MessageInfo{
			MessageSource: types.MessageSource{Chat: m.Chat, Sender: m.Sender}, ID: strings.TrimPrefix(name, markUnread),
		})
	}
	return nil
}

func (s *Session) hasUnread() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.unread.list) > 0
}

// askUnread asks the phone for what is unread, once there is a Signal session with it.
func (s *Session) askUnread(ctx context.Context) error {
	if !s.hasUnread() {
		return nil
	}
	err := s.rebuildPhoneSession(ctx)
	if err == nil {
		err = s.askPhone(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUnasked, err)
	}
	return nil
}

// askTime bounds the wait for the service to have one request, since sends wait meanwhile.
const askTime = 5 * time.Second

func (s *Session) askFor(ctx context.Context, info types.MessageInfo) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	_, err := s.cli.SendPeerMessage(ctx, s.cli.BuildUnavailableMessageRequest(info.Chat, info.Sender, info.ID))
	return err
}

// askPhone asks our own phone for the messages noted so far. Their senders may have been asked, too, but a sender may
// have gone. What comes twice is stored once.
func (s *Session) askPhone(ctx context.Context) error {
	s.mu.Lock()
	list := s.unread.list
	s.unread.list = nil
	s.mu.Unlock()
	for i, info := range list {
		if err := s.askFor(ctx, info); err != nil {
			s.mu.Lock()
			s.unread.list = append(list[i:], s.unread.list...)
			s.mu.Unlock()
			return fmt.Errorf("ask phone for message %s: %w", info.ID, err)
		}
		if err := s.inbox.ClearMark(ctx, markUnread+info.ID); err != nil { // asked for twice, then
			s.log.Warn("record of an unread message not cleared", "message_id", info.ID, "error", scrub(err.Error()))
		}
	}
	return nil
}
