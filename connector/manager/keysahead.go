package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

const (
	// keysAhead bounds for how many sessions keys are derived that may never be
	// needed: half of what the keyring remembers.
	keysAhead = 8192
	// aheadRest is how long the work on keys rests for each time unit it worked: it
	// takes a tenth of one core at most, and 1,000 sessions in some four minutes.
	aheadRest = 9
	// aheadEvery is how often new sessions are looked for.
	aheadEvery = time.Minute
	aheadPage  = 256
)

// deriveAhead derives, in the background, the keys of sessions that this
// connector may have to take from another (section 6 of the design): 18 ms less
// for each of them when many must be taken at once.
func (m *Manager) deriveAhead(ctx context.Context) error {
	known := make(map[string]bool)
	for {
		if err := m.deriveNew(ctx, known); err != nil {
			m.logUnlessEnding(ctx, "derive keys ahead", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(aheadEvery):
		}
	}
}

func (m *Manager) deriveNew(ctx context.Context, known map[string]bool) error {
	for last := ""; ; {
		ids, err := m.opt.Store.WantedSessions(ctx, last, aheadPage)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if known[id] {
				continue
			}
			if len(known) >= keysAhead {
				return nil
			}
			worked, err := m.deriveKeys(ctx, id)
			if err != nil {
				return err
			}
			known[id] = true
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(aheadRest * worked):
			}
		}
		if len(ids) < aheadPage {
			return nil
		}
		last = ids[len(ids)-1]
	}
}

// deriveKeys derives a session's keys, from the salt that its credentials row
// begins with. A session without one, or with a row of the Node service, has no
// keys yet. worked is the time the derivation itself took.
func (m *Manager) deriveKeys(ctx context.Context, id string) (worked time.Duration, err error) {
	row, err := m.opt.Store.Credentials(ctx, id)
	if errors.Is(err, cloudstore.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read credentials: %w", err)
	}
	salt, err := envelope.SaltOf(row.Data)
	if err != nil {
		return 0, nil //nolint:nilerr // whoever opens the row says what is wrong with it
	}
	began := time.Now()
	m.opt.Keys.Derive(id, salt)
	return time.Since(began), nil
}
