package replicate

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// sealCredentials reads the credentials and seals them. It must follow the read of the push that they
// go with, so that they are never older than it.
func (s *Session) sealCredentials(ctx context.Context) (*cloudstore.Credentials, error) {
	plain, err := s.r.opt.Credentials(ctx, s.file.DB())
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	id := s.term.SessionID
	data, _, err := s.r.keys.Seal(envelope.KindCredentials, false, envelope.CredentialsPosition(id), s.salt, plain)
	if err != nil {
		return nil, fmt.Errorf("seal credentials: %w", err)
	}
	return &cloudstore.Credentials{SessionID: id, Data: data, Epoch: s.term.Epoch}, nil
}

// startCredentials writes the credentials row when it is out of date (P7). It waits for the push under
// way, which may be fenced: a log that is over must not be followed by newer credentials.
func (s *Session) startCredentials(ctx context.Context) error {
	if !s.credsDirty || s.creds != nil || s.push != nil || s.seal != nil || s.resting() {
		return nil
	}
	creds, err := s.sealCredentials(ctx)
	if err != nil {
		return s.local("write credentials", err)
	}
	s.localOK()
	s.credsDirty = false
	s.creds = s.newUnit(nil, creds)
	s.lane.submit(s.creds)
	return nil
}

// credentialsDone takes the outcome of writing the credentials row.
func (s *Session) credentialsDone(context.Context) error {
	if s.creds == nil {
		return nil
	}
	select {
	case <-s.creds.done:
	default:
		return nil
	}
	u := s.creds
	s.creds = nil
	if u.err != nil {
		return s.fenced()
	}
	s.mu.Lock()
	s.status.LastDurable = time.Now()
	s.mu.Unlock()
	s.logSaved("credentials", int64(len(u.creds.Data)))
	return nil
}

// checkCredentials is startPush for a session of which only the credentials are kept: it compares them
// with what was written last. The file's dirty entries stay, for the day the whole log is wanted; there
// are never more of them than rows.
func (s *Session) checkCredentials(ctx context.Context) error {
	since := s.takeDirty()
	var has bool
	err := s.file.DB().QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM whatsmeow_device)").Scan(&has)
	if err == nil && !has {
		s.nothingToPush(ErrNoDevice)
		return nil
	}
	var sum [32]byte
	if err == nil {
		sum, err = s.credentialsSum(ctx)
	}
	if err != nil {
		s.putDirty(since)
		return s.local("read credentials", err)
	}
	s.localOK()
	s.urgent = false
	s.credsDirty = s.credsDirty || sum != s.credsSum
	s.credsSum = sum
	s.cover()
	s.synced = append(s.synced, s.covered...)
	s.covered = nil
	return nil
}

// credentialsSum identifies the credentials, apart from the time they were read at.
func (s *Session) credentialsSum(ctx context.Context) ([32]byte, error) {
	plain, err := s.r.opt.Credentials(ctx, s.file.DB())
	if err != nil {
		return [32]byte{}, err
	}
	var doc struct {
		Creds json.RawMessage `json:"creds"`
	}
	if err := json.Unmarshal(plain, &doc); err != nil {
		return [32]byte{}, fmt.Errorf("parse credentials: %w", err)
	}
	return sha256.Sum256(doc.Creds), nil
}
