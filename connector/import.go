package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"cloudsession/connector/noderows"
	"cloudsession/shared/envelope"
)

func importCommand(p program) *cobra.Command {
	cmd := &cobra.Command{Use: "import", Short: "Bring in sessions from elsewhere"}
	cmd.AddCommand(importNodeRowsCommand(p), importBaileysCommand(p), importWhatsmeowCommand(p))
	return cmd
}

// importConfig is what `connector import node-rows` reads.
type importConfig struct {
	Database
	Secrets
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
			var cfg importConfig
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

func (p program) importNodeRows(cmd *cobra.Command, cfg importConfig, dryRun bool) (err error) {
	if err := configError(cfg.problems()); err != nil {
		return err
	}
	keys, err := cfg.keyring()
	if err != nil {
		return err
	}
	store, err := cfg.open(1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Migrate(cmd.Context()); err != nil {
		return err
	}
	rows, err := store.CountRows(cmd.Context())
	if err != nil {
		return err
	}
	bar := progress(p.errOut, rows, "rows")
	sum, err := noderows.Import(cmd.Context(), store, keys, noderows.Options{
		DryRun: dryRun, Progress: func() { _ = bar.Add(1) }, // a terminal that went away
	})
	_ = bar.Finish()
	return errors.Join(p.reportNodeRows(sum, dryRun), err)
}

// reportNodeRows prints what came of an import; an error names rows that stay.
func (p program) reportNodeRows(sum noderows.Summary, dryRun bool) error {
	done := "sealed"
	if dryRun {
		done = "would be sealed"
	}
	fmt.Fprintf(p.out, "rows of the Node service %s: %d; sealed before: %d; left as they are: %d\n",
		done, sum.Sealed, sum.Before, len(sum.Problems))
	for _, problem := range sum.Problems {
		fmt.Fprintf(p.out, "  %q: %s\n", problem.SessionID, problem.Reason)
	}
	if len(sum.Problems) > 0 {
		return errors.New("some rows were left as they are")
	}
	return nil
}

// progress returns a bar on a terminal, and one that shows nothing elsewhere.
func progress(w io.Writer, total int, unit string) *progressbar.ProgressBar {
	file, isFile := w.(*os.File)
	return progressbar.NewOptions(total,
		progressbar.OptionSetWriter(w), progressbar.OptionSetVisibility(isFile && term.IsTerminal(int(file.Fd()))),
		progressbar.OptionShowCount(), progressbar.OptionSetItsString(unit), progressbar.OptionClearOnFinish(),
	)
}
