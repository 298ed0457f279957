package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cloudsession/connector/control"
)

// client returns a client for the connector that runs on DATA_DIR.
func (p program) client() (*control.Client, error) {
	var cfg Local
	if err := p.load(&cfg); err != nil {
		return nil, err
	}
	dir, err := cfg.dataDir()
	if err != nil {
		return nil, err
	}
	return control.NewClient(dir), nil
}

func openCommand(p program) *cobra.Command {
	return &cobra.Command{
		Use:   "open <session>",
		Short: "Open a session, from this machine or from the cloud",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			s, err := c.Open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(p.out, "%s is open (start %s, epoch %d)\n", s.SessionID, s.Start, s.Epoch)
			return nil
		},
	}
}

func closeCommand(p program) *cobra.Command {
	return &cobra.Command{
		Use:   "close <session>",
		Short: "Close a session: everything pushed, its log sealed, free to be opened elsewhere",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			if err := c.Close(cmd.Context(), args[0]); err != nil {
				return err
			}
			fmt.Fprintf(p.out, "%s is closed\n", args[0])
			return nil
		},
	}
}

func sendCommand(p program) *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "send <session> <to> <text>",
		Short: "Send a text to a phone number (+62…), a group or a LID; `-` as text reads standard input",
		Long: `Send a text to a phone number (+62…), a group or a LID, and wait until WhatsApp has
it. "-" as text reads standard input.

With --key the command can be repeated without harm, after a timeout or a crash, also
on another connector that has taken the session over: the same key sends nothing new
and prints the first one's result. Keys are remembered for 14 days. Where the connector
dies before its answer nobody knows whether the message was sent. The local socket
takes the same: POST /v1/sessions/<session>/send {"to":"…","text":"…","key":"…"}.`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			text := args[2]
			if text == "-" {
				b, err := io.ReadAll(cmd.InOrStdin())
				if err != nil {
					return fmt.Errorf("read text: %w", err)
				}
				text = strings.TrimSuffix(string(b), "\n")
			}
			sent, err := c.Send(cmd.Context(), args[0], control.SendRequest{To: args[1], Text: text, Key: key})
			if err != nil {
				return unanswered(err, key)
			}
			fmt.Fprintf(p.out, "sent %s at %s\n", sent.ID, sent.Timestamp.UTC().Format(time.RFC3339))
			return nil
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "idempotency key: repeating the command with the same key sends nothing new")
	return cmd
}

// unanswered adds to the error of a send that has no answer what that means.
func unanswered(err error, key string) error {
	if !errors.Is(err, control.ErrNoAnswer) {
		return err
	}
	advice := "repeat the command with the same --key, which sends the message once"
	if key == "" {
		advice = "without --key, sent again it may be shown twice"
	}
	return fmt.Errorf("%w; nobody knows whether the message was sent or will be: %s", err, advice)
}

func messagesCommand(p program) *cobra.Command {
	var follow, lost, asJSON bool
	var after int64
	cmd := &cobra.Command{
		Use:   "messages <session>",
		Short: "Print what came in",
		Long: `Print the messages of the last 14 days, oldest first: number, time, sender, text.

With --follow new messages are printed as they come, until interrupted, also across a
restore of the session. --after goes on where an earlier call stopped: numbers only grow,
with gaps, wide ones over a restore. With --json each line is an object whose "key" is the
same for a message however often it is shown, here or to the webhook.

With --lost it prints, of a session that this machine has lost, what only its files hold:
what was acknowledged while TiDB was away and is neither there nor delivered. Their numbers
are those of their time.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			print := func(m control.Message) error {
				if asJSON {
					return json.NewEncoder(p.out).Encode(m)
				}
				return printMessage(p.out, m)
			}
			if lost {
				return c.Lost(cmd.Context(), args[0], print)
			}
			return c.Messages(cmd.Context(), args[0], after, follow, print)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new messages until interrupted")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.Flags().BoolVar(&lost, "lost", false, "what only files of ended terms on this machine hold")
	cmd.Flags().Int64Var(&after, "after", 0, "only messages after this number")
	cmd.MarkFlagsMutuallyExclusive("lost", "follow")
	cmd.MarkFlagsMutuallyExclusive("lost", "after")
	return cmd
}

func printMessage(w io.Writer, m control.Message) error {
	out := bufio.NewWriter(w)
	text := m.Text
	if m.Kind != "text" {
		text = "[" + m.Kind + "] " + text
	}
	// Control characters in a stranger's text must not reach the terminal.
	fmt.Fprintf(out, "%d\t%s\t%s\t%q\n", m.Seq, m.Timestamp.UTC().Format(time.RFC3339), m.Sender, text)
	return out.Flush()
}

func sessionsCommand(p program) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List the sessions of the running connector",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			list, err := c.Sessions(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(p.out).Encode(list)
			}
			w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SESSION\tSTATE\tSTART\tEPOCH\tPENDING\tLAST PUSH\tDETAIL")
			for _, s := range list {
				pushed := "-"
				if s.SyncedAt != nil {
					pushed = s.SyncedAt.UTC().Format(time.RFC3339)
				}
				detail := s.Detail
				if s.Unprotected != "" {
					detail = strings.TrimPrefix(detail+"; unprotected: "+s.Unprotected, "; ")
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%t\t%s\t%s\n", s.SessionID, s.State, s.Start, s.Epoch, s.Pending, pushed, detail)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// errPairing marks a pairing that ended without a link; its text is the reason.
var errPairing = errors.New("not paired")
