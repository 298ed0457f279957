package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"cloudsession/connector/rekey"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

func rekeyCommand(p program) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "rekey [session …]",
		Short: "Seal every session under the current secret, after it was changed",
		Long: `Seal every session under the current secret, after it was changed.

First give every connector the new secret as SESSION_ENCRYPTION_SECRET and the
old one in SESSION_ENCRYPTION_SECRET_PREVIOUS, and restart them one by one. Then
run this with the new one. It may be cut short and run again, and connectors go
on meanwhile. When nothing is left, the old secret can be removed.

Restore points from before are deleted: the old secret would open them. Without
names it does all sessions.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.rekey(cmd, rekey.Options{Only: args, DryRun: dryRun})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only count the sessions that need it")
	return cmd
}

func (p program) rekey(cmd *cobra.Command, o rekey.Options) error {
	var cfg sealed
	if err := p.load(&cfg); err != nil {
		return err
	}
	current, err := envelope.NewKeyring(cfg.Secret)
	if err != nil {
		return err
	}
	return withStore(cfg.Database, 0, func(store *cloudstore.Store) error {
		var bar meter
		o.Begin = func(todo int) { bar = newMeter(p.errOut, todo, "sessions") }
		o.Progress = func() { bar.step() }
		sum, err := rekey.Rekeyer{Store: store, Current: current}.Run(cmd.Context(), o)
		bar.end()
		return errors.Join(p.reportRekey(sum, o.DryRun), err)
	})
}

func (p program) reportRekey(sum rekey.Summary, dryRun bool) error {
	done := "sealed anew"
	if dryRun {
		done = "to be sealed anew"
	}
	fmt.Fprintf(p.out, "sessions %s: %d; under the current secret before: %d; left under an old one: %d\n",
		done, sum.Done, sum.Before, len(sum.Problems))
	for _, problem := range sum.Problems {
		p.stays(problem.SessionID, problem.Reason)
	}
	if len(sum.Problems) > 0 {
		return errors.New("keep the old secret in SESSION_ENCRYPTION_SECRET_PREVIOUS: some sessions need it")
	}
	return nil
}
