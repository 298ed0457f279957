package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// forgetConfig is what `connector forget` reads.
type forgetConfig struct {
	Database
	Queues
}

func (c forgetConfig) problems() []error {
	return append(c.Database.problems(), c.Queues.problems()...)
}

func forgetCommand(p program) *cobra.Command {
	return &cobra.Command{
		Use:   "forget <connector-id>",
		Short: "Say that a connector is gone for good: nobody is alarmed by it, and its queue is removed",
		Long: `Say that a connector is gone for good, so that nobody is alarmed by it, and remove its queue.

A connector that ends without a clean stop counts as stale until it is back. When its machine will
never be back, this takes it off that count. Its sessions are not touched: the other connectors take
them over by themselves. Its queue, the one of QUEUE_PREFIX and this name, is deleted; the commands
are rows in TiDB, and lose nothing. Should the connector run after all, it is watched again, and
makes its queue again within two minutes.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var cfg forgetConfig
			if err := p.load(&cfg); err != nil {
				return err
			}
			queue, err := cfg.queue(cmd.Context())
			if err != nil {
				return fmt.Errorf("set up SQS: %w", err)
			}
			err = withStore(cfg.Database, 1, func(store *cloudstore.Store) error {
				return forget(cmd.Context(), store, args[0])
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(p.out, "%s is forgotten\n", args[0])
			return p.removeQueue(cmd.Context(), queue, args[0], command.QueueName(cfg.QueuePrefix, args[0]))
		},
	}
}

func forget(ctx context.Context, store *cloudstore.Store, id string) error {
	// No newer connector may have run on this database yet.
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	err := store.ForgetConnector(ctx, id)
	switch {
	case errors.Is(err, cloudstore.ErrNotFound):
		return fmt.Errorf("no connector %q has ever run on this database", id)
	case errors.Is(err, cloudstore.ErrStillLive):
		return fmt.Errorf("connector %q is live: stop it first", id)
	}
	return err
}

// removeQueueTime bounds a removal: where SQS can't be reached the rest is done.
const removeQueueTime = time.Minute

// removeQueue deletes the queue of a connector that is forgotten. One that comes
// back at this very moment finds its queue gone and makes it again.
func (p program) removeQueue(ctx context.Context, queue *command.SQS, id, name string) error {
	ctx, cancel := context.WithTimeout(ctx, removeQueueTime)
	defer cancel()
	err := queue.Remove(ctx, name)
	switch {
	case errors.Is(err, command.ErrNoQueue):
		fmt.Fprintf(p.out, "it has no queue %s\n", name)
		return nil
	case err != nil:
		return fmt.Errorf("%s is forgotten, but its queue stays until this is run again: %w", id, err)
	}
	fmt.Fprintf(p.out, "its queue %s is removed\n", name)
	return nil
}
