// Package noderows seals the rows that the Node service wrote to
// whatsapp_sessions, all at once. It isn't needed for using them: a connector
// opens such a row on first use, and replaces it then. It is for knowing early
// which rows can't be opened, and for having no unauthenticated data left.
package noderows

import (
	"context"
	"errors"
	"fmt"

	"cloudsession/connector/baileys"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// Store is what Import needs of a *cloudstore.Store.
type Store interface {
	Rows(ctx context.Context, visit func(cloudstore.Row) error) error
	Reseal(ctx context.Context, r cloudstore.Row, data []byte) error
}

// Options say how to import.
type Options struct {
	// DryRun opens and checks every row and writes nothing.
	DryRun bool
	// Progress is called after each row; it may be nil.
	Progress func()
}

// Problem is a row that stays as it is, and why.
type Problem struct {
	SessionID string
	Reason    string
}

// Summary says what an import came to.
type Summary struct {
	Sealed   int // rows of the Node service that are sealed now, or would be
	Before   int // rows that were sealed already
	Problems []Problem
}

// Import seals every row of the Node service that one of the keyring's secrets
// opens and that holds the credentials of a linked device. All other rows are
// left as they are and named in the summary. It can be repeated, and runs beside
// connectors. An error means that the database could not be read or written.
func Import(ctx context.Context, store Store, keys *envelope.Keyring, o Options) (Summary, error) {
	var sum Summary
	err := store.Rows(ctx, func(row cloudstore.Row) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := sum.row(ctx, store, keys, row, o.DryRun)
		if o.Progress != nil {
			o.Progress()
		}
		return err
	})
	if err != nil {
		return sum, fmt.Errorf("import rows of the Node service: %w", err)
	}
	return sum, nil
}

func (sum *Summary) row(ctx context.Context, store Store, keys *envelope.Keyring, row cloudstore.Row, dryRun bool) error {
	if _, err := envelope.KindOf(row.Data); err == nil {
		sum.Before++
		return nil
	}
	data, err := seal(keys, row)
	if err != nil {
		sum.Problems = append(sum.Problems, Problem{row.SessionID, err.Error()})
		return nil
	}
	if !dryRun {
		err = store.Reseal(ctx, row, data)
	}
	if errors.Is(err, cloudstore.ErrFenced) {
		sum.Problems = append(sum.Problems, Problem{row.SessionID, "a connector has just taken it, or it was written again: run the import once more"})
		return nil
	}
	if err == nil {
		sum.Sealed++
	}
	return err
}

// seal opens a row of the Node service and seals what it holds. Its errors are
// sentences for the operator and quote nothing of the row.
func seal(keys *envelope.Keyring, row cloudstore.Row) ([]byte, error) {
	if err := cloudstore.ValidateSessionID(row.SessionID); err != nil {
		return nil, fmt.Errorf("its id can't be used: %w", err)
	}
	switch {
	case row.Epoch != 0:
		return nil, errors.New("a connector has taken it; it is sealed with the session's next change")
	case !envelope.IsLegacy(row.Data):
		return nil, errors.New("it is neither sealed nor in the Node service's format")
	}
	text, err := keys.OpenLegacy(row.SessionID, row.Data)
	if err != nil {
		return nil, errors.New("no secret opens it: it was written under another SESSION_ENCRYPTION_SECRET, or is damaged")
	}
	if _, err := baileys.Describe(text); errors.Is(err, baileys.ErrUnpaired) {
		return nil, errors.New("it was never linked to a phone: there is nothing to bring in")
	} else if err != nil {
		return nil, fmt.Errorf("it opens, but can't be used: %w", err)
	}
	data, _, err := keys.Seal(envelope.KindCredentials, false, envelope.CredentialsPosition(row.SessionID), envelope.NewSalt(), text)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return data, nil
}
