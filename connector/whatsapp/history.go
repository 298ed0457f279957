package whatsapp

import (
	"context"
	"fmt"
	"time"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	"google.golang.org/protobuf/proto"
)

// maxHistoryAttempts is after how many failed downloads a piece of history is given up; the phone deletes it anyway.
const maxHistoryAttempts = 8

// historyNote returns the announcement of a piece of history that a message is; nil when it is something else.
func historyNote(evt *events.Message) *waE2E.HistorySyncNotification {
	if !evt.Info.IsFromMe {
		return nil
	}
	return evt.RawMessage.GetProtocolMessage().GetHistorySyncNotification()
}

// storeHistory keeps the announcement of a piece of history; fetching it comes after (W3).
func (s *Session) storeHistory(ctx context.Context, id types.MessageID, note *waE2E.HistorySyncNotification) error {
	data, err := proto.Marshal(note)
	if err != nil {
		return fmt.Errorf("marshal history announcement: %w", err)
	}
	if err := s.inbox.AddHistory(ctx, id, data); err != nil {
		return err
	}
	s.spawn(s.fetchHistory)
	return nil
}

// fetchHistory downloads announced history. Of it whatsmeow keeps addresses, names and message secrets; the messages
// themselves are old, and are not for the inbox. The receipt tells the phone that it may delete the data.
func (s *Session) fetchHistory() {
	if !s.historyLock.TryLock() {
		return // another run is under way, and sees what was stored meanwhile
	}
	defer s.historyLock.Unlock()
	for {
		list, err := s.inbox.PendingHistory(s.ctx, 1)
		if err != nil {
			s.log.Error("history announcements not read", "error", scrub(err.Error()))
			return
		}
		if len(list) == 0 || !s.cli.IsLoggedIn() {
			return
		}
		h := list[0]
		err = s.fetchPiece(h.ID, h.Notification)
		if err == nil || h.Attempts+1 >= maxHistoryAttempts {
			if err != nil {
				s.log.Warn("message history given up", "message_id", h.ID, "error", scrub(err.Error()))
			}
			err = s.inbox.RemoveHistory(s.ctx, h.ID)
		} else {
			s.log.Warn("message history not fetched", "message_id", h.ID, "error", scrub(err.Error()))
			err = s.inbox.CountHistoryAttempt(s.ctx, h.ID)
			if !s.sleep(time.Duration(h.Attempts+1) * 5 * time.Second) {
				return
			}
		}
		if err != nil {
			s.log.Error("history announcement not updated", "message_id", h.ID, "error", scrub(err.Error()))
			return
		}
	}
}

func (s *Session) fetchPiece(id types.MessageID, notification []byte) error {
	var note waE2E.HistorySyncNotification
	if err := proto.Unmarshal(notification, &note); err != nil {
		return fmt.Errorf("read history announcement: %w", err)
	}
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Minute)
	defer cancel()
	if _, err := s.cli.DownloadHistorySync(ctx, &note, true); err != nil {
		return fmt.Errorf("fetch history: %w", err)
	}
	if err := s.cli.SendProtocolMessageReceipt(ctx, id, types.ReceiptTypeHistorySync); err != nil {
		return fmt.Errorf("confirm history: %w", err)
	}
	return nil
}
