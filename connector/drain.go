package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"cloudsession/connector/control"
)

func drainCommand(p program) *cobra.Command {
	var stop bool
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Hand this connector's sessions over to others, before it is stopped; it takes no new ones",
		Long: `Hand this connector's sessions over to others, before it is stopped or restarted.

From now on the connector takes no sessions. Those it holds go to live connectors with room, a few at a time, each
exactly where it is, within about a second. What can't be moved stays open here, and the command says why and fails.
Interrupting it begins no further move; the connector goes on draining until --stop, or until it is restarted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			if stop {
				if err := c.Undrain(cmd.Context()); err != nil {
					return err
				}
				fmt.Fprintln(p.out, "the connector takes sessions again")
				return nil
			}
			return drain(cmd.Context(), c, p.out)
		},
	}
	cmd.Flags().BoolVar(&stop, "stop", false, "let the connector take sessions again")
	return cmd
}

// errDrainInterrupted tells what an interrupted drain leaves behind.
var errDrainInterrupted = errors.New("interrupted: the connector goes on draining; run `connector drain` again, or `connector drain --stop`")

func drain(ctx context.Context, c *control.Client, out io.Writer) error {
	var last control.DrainEvent
	err := c.Drain(ctx, func(e control.DrainEvent) error {
		last = e
		switch e.Kind {
		case "begin":
			fmt.Fprintf(out, "draining: %d open\n", e.Left)
		case "moved":
			fmt.Fprintf(out, "%s → %s (%d ms)\n", e.SessionID, e.To, e.Millis)
		case "stays":
			fmt.Fprintf(out, "%s stays: %s\n", e.SessionID, e.Reason)
		case "done":
			fmt.Fprintf(out, "moved %d, %d open here\n", e.Moved, e.Left)
		}
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return errDrainInterrupted
	case err != nil:
		return err
	case last.Kind == "failed":
		return errors.New(last.Reason)
	case last.Kind != "done":
		return errors.New("the connector ended before its sessions were moved")
	case last.Left > 0:
		return fmt.Errorf("%d of its sessions stay open here", last.Left)
	}
	return nil
}
