package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"cloudsession/connector/noderows"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

func importCommand(p program) *cobra.Command {
	cmd := &cobra.Command{Use: "import", Short: "Bring in sessions from elsewhere"}
	cmd.AddCommand(importNodeRowsCommand(p), importBaileysCommand(p), importWhatsmeowCommand(p))
	return cmd
}

// sealed is what commands read that open rows in TiDB themselves.
type sealed struct {
	Database
	Secrets
}

func (s sealed) problems() []error {
	list := s.Database.problems()
	if _, err := s.keyring(); err != nil {
		list = append(list, err)
	}
	return list
}

func importNodeRowsCommand(p program) *cobra.Command {
	var dryRun, defaultSecret bool
	cmd := &cobra.Command{
		Use:   "node-rows",
		Short: "Seal the rows that the Node service wrote to whatsapp_sessions",
		Long: `Seal the rows that the Node service wrote to whatsapp_sessions, all at once.

Connectors open such rows anyway, each on first use. This finds out beforehand
which of them can't be opened, and leaves no row behind without authentication.
A row that can't be opened stays as it is. Connectors may run meanwhile; the
Node service should not: it would write its own form again.

The secret is SESSION_ENCRYPTION_SECRET; if the Node service used another one,
name that in SESSION_ENCRYPTION_SECRET_PREVIOUS.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var cfg sealed
			if err := p.load(&cfg); err != nil {
				return err
			}
			if defaultSecret {
				cfg.Previous += "," + envelope.LegacyDefaultSecret
			}
			return p.importNodeRows(cmd, cfg, dryRun)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "open and check every row, write nothing")
	cmd.Flags().BoolVar(&defaultSecret, "default-secret", false,
		"also try the secret that the Node service used when it was given none: anybody can open such rows")
	return cmd
}

func (p program) importNodeRows(cmd *cobra.Command, cfg sealed, dryRun bool) error {
	keys, err := cfg.keyring()
	if err != nil {
		return err
	}
	return withStore(cfg.Database, 1, func(store *cloudstore.Store) error {
		if err := store.Migrate(cmd.Context()); err != nil {
			return err
		}
		rows, err := store.CountRows(cmd.Context())
		if err != nil {
			return err
		}
		bar := newMeter(p.errOut, rows, "rows")
		sum, err := noderows.Import(cmd.Context(), store, keys, noderows.Options{DryRun: dryRun, Progress: bar.step})
		bar.end()
		return errors.Join(p.reportNodeRows(sum, dryRun), err)
	})
}

// reportNodeRows prints what came of an import; an error says that rows stay.
func (p program) reportNodeRows(sum noderows.Summary, dryRun bool) error {
	done := "sealed"
	if dryRun {
		done = "would be sealed"
	}
	fmt.Fprintf(p.out, "rows of the Node service %s: %d; sealed before: %d; left as they are: %d\n",
		done, sum.Sealed, sum.Before, len(sum.Problems))
	for _, problem := range sum.Problems {
		p.stays(problem.SessionID, problem.Reason)
	}
	if len(sum.Problems) > 0 {
		return errors.New("some rows were left as they are")
	}
	return nil
}

// stays names a session that a command left as it was, and why.
func (p program) stays(session, reason string) { fmt.Fprintf(p.out, "  %q: %s\n", session, reason) }
