package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/devtoken"
)

func migrateCommand(p program) *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's tables up to this version (connector run does it too)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var cfg Database
			if err := p.load(&cfg); err != nil {
				return err
			}
			return withStore(cfg, 1, func(store *cloudstore.Store) error {
				if err := store.Migrate(cmd.Context()); err != nil {
					return err
				}
				fmt.Fprintln(p.out, "the tables are up to date")
				return nil
			})
		},
	}
}

// tokenConfig is what `connector token` reads.
type tokenConfig struct {
	Secret string `env:"JWT_SECRET"`
}

func tokenCommand(p program) *cobra.Command {
	var subject, scopes string
	var sessions []string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Mint a token for the API, for development: signed with JWT_SECRET",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var cfg tokenConfig
			if err := p.load(&cfg); err != nil {
				return err
			}
			if cfg.Secret == "" {
				return errors.New("JWT_SECRET is not set: use the one the functions check tokens with")
			}
			token, err := devtoken.Mint([]byte(cfg.Secret), subject, strings.Fields(strings.ReplaceAll(scopes, ",", " ")), ttl, sessions...)
			if err != nil {
				return err
			}
			fmt.Fprintln(p.out, token)
			return nil
		},
	}
	cmd.Flags().StringVar(&subject, "subject", "developer", "whom the token is for")
	cmd.Flags().StringVar(&scopes, "scopes", "sessions:read sessions:write", "scopes, separated by spaces or commas")
	cmd.Flags().StringArrayVar(&sessions, "session", nil, "a session the token is limited to, or how its id begins and a *; may be repeated; all without")
	cmd.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "how long the token is valid")
	return cmd
}
