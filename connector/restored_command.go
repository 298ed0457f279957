package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"cloudsession/shared/cloudstore"
)

func databaseRestoredCommand(p program) *cobra.Command {
	return &cobra.Command{
		Use:   "database-restored",
		Short: "Say that the database was restored from a backup: every session's next start is safe",
		Long: `Run this once after restoring the database from a backup, before connectors open sessions from it.

What stands in a backup is older than what the sessions did since, and nothing in it says so: a log
that was sealed when the backup was made would be resumed as it is, and messages would be lost in
silence. This ends the current term of every session and frees it, so that each next start drops the
stale state first. Connectors that still run notice it at their next heartbeat: they close their
sessions and restore them safely. Running it twice does no harm.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var cfg Database
			if err := p.load(&cfg); err != nil {
				return err
			}
			return withStore(cfg, 1, func(store *cloudstore.Store) error {
				// The backup may be of an older version.
				if err := store.Migrate(cmd.Context()); err != nil {
					return err
				}
				marked, err := store.MarkDatabaseRestored(cmd.Context())
				fmt.Fprintf(p.out, "%d sessions will start safely\n", marked)
				return err
			})
		},
	}
}
