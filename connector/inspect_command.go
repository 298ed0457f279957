package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"cloudsession/connector/inspect"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// errNotWhole is the exit of a verification that found faults.
var errNotWhole = errors.New("the session's copy in the cloud does not verify")

// readable is what each inspection returns: it encodes as JSON, too.
type readable interface{ Text(w io.Writer) error }

func inspectCommand(p program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect",
		Short: "Look into a session's log in the cloud: list, dump (keys redacted), verify",
	}
	asJSON := cmd.PersistentFlags().Bool("json", false, "print JSON")
	type look func(ctx context.Context, store *cloudstore.Store, keys *envelope.Keyring, session string) (readable, error)
	add := func(use, short string, secret bool, f look) {
		cmd.AddCommand(&cobra.Command{
			Use: use + " <session>", Short: short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return p.inspect(secret, *asJSON, func(store *cloudstore.Store, keys *envelope.Keyring) (readable, error) {
					return f(cmd.Context(), store, keys, args[0])
				})
			},
		})
	}
	add("list", "List the epochs and rows, without opening any", false,
		func(ctx context.Context, store *cloudstore.Store, _ *envelope.Keyring, id string) (readable, error) {
			return inspect.List(ctx, store, id)
		})
	add("dump", "Print the state the log holds, keys and contents redacted", true,
		func(ctx context.Context, store *cloudstore.Store, keys *envelope.Keyring, id string) (readable, error) {
			return inspect.Dump(ctx, store, keys, id)
		})
	add("verify", "Open and check every row; exits 1 if anything is wrong", true,
		func(ctx context.Context, store *cloudstore.Store, keys *envelope.Keyring, id string) (readable, error) {
			return inspect.Verify(ctx, store, keys, id)
		})
	return cmd
}

// inspect connects, looks and prints. secret says that rows are to be opened.
func (p program) inspect(secret, asJSON bool, look func(*cloudstore.Store, *envelope.Keyring) (readable, error)) (err error) {
	var cfg sealed
	var target any = &cfg.Database
	if secret {
		target = &cfg
	}
	if err := p.load(target); err != nil {
		return err
	}
	var keys *envelope.Keyring
	if secret {
		if keys, err = cfg.keyring(); err != nil {
			return err
		}
	}
	store, err := cfg.open(1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	found, err := look(store, keys)
	if err != nil {
		return err
	}
	if asJSON {
		if err := json.NewEncoder(p.out).Encode(found); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	} else if err := found.Text(p.out); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if report, ok := found.(inspect.Report); ok && !report.OK {
		return errNotWhole
	}
	return nil
}
