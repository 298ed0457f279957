package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"cloudsession/connector/control"
)

func restoreAtCommand(p program) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "restore <session> --at <epoch.seq|time>",
		Short: "Open a closed session as it was at an older point of its log",
		Long: `Open a closed session as it was at an older point of its log, and go on from there: when the log
is damaged behind that point, or when somebody wants a state undone.

connector inspect list shows the points: every row that ends a push, as <epoch>.<seq>, with its time.
A time stands for the newest point before it. Nothing is deleted: what the session goes back from
stays in the log. The start is always safe, since the Signal state of that point is stale; the inbox
is the one of that point, too.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			s, err := c.RestoreAt(cmd.Context(), args[0], control.RestoreRequest{At: at})
			if err != nil {
				return err
			}
			fmt.Fprintf(p.out, "%s is open as it was at %s (start %s, epoch %d)\n", s.SessionID, at, s.Start, s.Epoch)
			return nil
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "the point: <epoch>.<seq>, or a time such as 2026-01-22T10:30:45Z (required)")
	if err := cmd.MarkFlagRequired("at"); err != nil {
		panic(err) // the flag is declared above
	}
	return cmd
}
