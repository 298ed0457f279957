package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"cloudsession/shared/cloudstore"
)

func forgetCommand(p program) *cobra.Command {
	return &cobra.Command{
		Use:   "forget <connector-id>",
		Short: "Say that a connector is gone for good, so that nobody is alarmed by it",
		Long: `Say that a connector is gone for good, so that nobody is alarmed by it.

A connector that ends without a clean stop counts as stale until it is back. When its machine will
never be back, this takes it off that count. Its sessions are not touched: the other connectors take
them over by themselves. Should the connector run after all, it is watched again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var cfg Database
			if err := p.load(&cfg); err != nil {
				return err
			}
			return withStore(cfg, 1, func(store *cloudstore.Store) error {
				// No newer connector may have run on this database yet.
				if err := store.Migrate(cmd.Context()); err != nil {
					return err
				}
				err := store.ForgetConnector(cmd.Context(), args[0])
				switch {
				case errors.Is(err, cloudstore.ErrNotFound):
					return fmt.Errorf("no connector %q has ever run on this database", args[0])
				case errors.Is(err, cloudstore.ErrStillLive):
					return fmt.Errorf("connector %q is live: stop it first; a clean stop needs no forgetting", args[0])
				case err != nil:
					return err
				}
				fmt.Fprintf(p.out, "%s is forgotten\n", args[0])
				return nil
			})
		},
	}
}
