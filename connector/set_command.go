package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"cloudsession/shared/cloudstore"
)

func setCommand(p program) *cobra.Command {
	var want choices
	cmd := &cobra.Command{
		Use:   "set <session> [--backup full|credentials] [--failover auto|manual]",
		Short: "Choose how much of a session is kept in TiDB, and whether others take it over unasked",
		Long: `Choose how much of a session is kept in TiDB, and whether others take it over unasked. The choice
stands in TiDB: this works from any machine, whether the session is open or not.

--backup full, the default, keeps everything. --backup credentials keeps what logs in and nothing
else: no texts, no contacts, no Signal state. Every start is then safe, also after a clean stop, and
messages are acknowledged to WhatsApp before anybody but the connector's disk has them (the session
is called unprotected). It takes effect at the session's next start, which still begins with the log
that there is; what was pushed before stays in TiDB, unused, until everything is kept again, a rekey,
or the session is deleted. Back to full takes effect within seconds where the session is open, else at its
next start: all of it is pushed at once, as a new base.

--failover auto, the default, has other connectors take the session when its own has died. With
--failover manual it waits for its connector, or for a person who restores it on another one; its
connector goes on connecting it while TiDB can't be reached. It takes effect within seconds.

Keeping nothing is not a choice here: DELETE /cloud/sessions/<session> removes the copy, and a sync
makes a new one.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := want.check(); err != nil {
				return err
			}
			var cfg Database
			if err := p.load(&cfg); err != nil {
				return err
			}
			return withStore(cfg, 1, func(store *cloudstore.Store) error {
				o, err := want.set(cmd.Context(), store, args[0])
				if err != nil {
					return err
				}
				fmt.Fprintf(p.out, "%s: backup %s, failover %s\n", o.SessionID, o.Backup, o.Failover)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&want.backup, "backup", "", "what is kept in TiDB: full or credentials")
	cmd.Flags().StringVar(&want.failover, "failover", "", "who takes the session when its connector has died: auto (any other) or manual (nobody unasked)")
	return cmd
}

// choices are what a person may choose of a session; "" leaves a thing as it is.
type choices struct{ backup, failover string }

func (c choices) check() error {
	switch {
	case c.backup == "" && c.failover == "":
		return errors.New("nothing to set: give --backup full|credentials, --failover auto|manual, or both")
	case c.backup == cloudstore.BackupOff:
		return errors.New("--backup off can't be set: DELETE /cloud/sessions/<session> removes the copy; allowed are full and credentials")
	case !slices.Contains([]string{"", cloudstore.BackupFull, cloudstore.BackupCredentials}, c.backup):
		return fmt.Errorf("--backup %q: allowed are full and credentials", c.backup)
	case !slices.Contains([]string{"", cloudstore.FailoverAuto, cloudstore.FailoverManual}, c.failover):
		return fmt.Errorf("--failover %q: allowed are auto and manual", c.failover)
	}
	return nil
}

// set writes the choices and returns what stands then.
func (c choices) set(ctx context.Context, store *cloudstore.Store, id string) (o cloudstore.Owner, err error) {
	if c.backup != "" {
		err = store.SetBackup(ctx, id, c.backup)
	}
	if err == nil && c.failover != "" {
		err = store.SetFailover(ctx, id, c.failover)
	}
	if err == nil {
		o, err = store.Owner(ctx, id)
	}
	switch {
	case errors.Is(err, cloudstore.ErrNotFound):
		return o, fmt.Errorf("session %q: not found in the cloud, or no connector has opened it yet", id)
	case errors.Is(err, cloudstore.ErrCopyDeleted):
		return o, fmt.Errorf("session %q: its copy was deleted; a sync makes a new one, and then this can be chosen", id)
	}
	return o, err
}
