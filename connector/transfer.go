package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/baileys"
	"cloudsession/connector/control"
	"cloudsession/connector/transfer"
)

// importFlags are what every import of a session takes.
type importFlags struct {
	session                 string
	stoppedCleanly, replace bool
}

func (f *importFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.session, "session", "", "name of the session it becomes (required)")
	cmd.Flags().BoolVar(&f.stoppedCleanly, "stopped-cleanly", false,
		"the other program was stopped in order, saved everything, and will never run with this again:\ngo on exactly where it stopped. If in doubt, leave it out")
	cmd.Flags().BoolVar(&f.replace, "replace", false, "replace a session of that name; its state stays as a restore point")
	if err := cmd.MarkFlagRequired("session"); err != nil {
		panic(err) // the flag was added three lines above
	}
}

const howImported = `
Without --stopped-cleanly the session starts safely: Signal sessions are built anew
with each contact, since stale ones lose messages without a trace, and a message
sent to the old ones is asked for again. A copy of a program's files that is older
than its last message is not "stopped cleanly".

A running connector takes the session and opens it.`

func importBaileysCommand(p program) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use: "baileys <folder>", Short: "Bring in a Baileys auth folder",
		Long: "Bring in a Baileys auth folder (useMultiFileAuthState). It is only read.\n" + howImported,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, r, err := transfer.FromBaileys(cmd.Context(), args[0], f.stoppedCleanly)
			if err != nil {
				return p.folderProblems(args[0], err)
			}
			if err := p.bringIn(cmd, f, file, r.MaxPreKeyID); err != nil {
				return err
			}
			p.tellFolder(r)
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func importWhatsmeowCommand(p program) *cobra.Command {
	var f importFlags
	var device string
	cmd := &cobra.Command{
		Use: "whatsmeow <file>", Short: "Bring in a device of a whatsmeow SQLite file",
		Long: "Bring in a device of a whatsmeow SQLite file, as Go bots keep it. It is only read.\n" + howImported,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var jid types.JID
			if device != "" {
				var err error
				if jid, err = types.ParseJID(device); err != nil {
					return fmt.Errorf("--device %q is no JID: %w", device, err)
				}
			}
			file, r, err := transfer.FromWhatsmeow(cmd.Context(), args[0], jid)
			if err != nil {
				return err
			}
			return p.bringIn(cmd, f, file, r.Device.MaxPreKeyID)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&device, "device", "", "which device, if the file holds several (628…:12@s.whatsapp.net)")
	return cmd
}

// bringIn hands a session to the running connector.
func (p program) bringIn(cmd *cobra.Command, f importFlags, file []byte, maxPreKey uint32) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	s, err := c.Import(cmd.Context(), f.session, control.ImportRequest{Exact: f.stoppedCleanly, Replace: f.replace, MaxPreKeyID: maxPreKey}, file)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "%s is here: %s\n", f.session, s.State)
	return nil
}

// folderProblems lists everything that is wrong with a folder.
func (p program) folderProblems(folder string, err error) error {
	bad, ok := errors.AsType[*baileys.FolderError](err)
	if !ok || len(bad.Problems) < 2 {
		return err
	}
	for _, problem := range bad.Problems {
		fmt.Fprintf(p.errOut, "  %s\n", problem)
	}
	return fmt.Errorf("%s can't be imported: %d problems", folder, len(bad.Problems))
}

func (p program) tellFolder(r baileys.Report) {
	fmt.Fprintf(p.out, "prekeys %d, Signal sessions %d, sender keys %d, identities %d, app state keys %d and versions %d, LIDs %d, tokens %d\n",
		r.PreKeys, r.Sessions, r.SenderKeys, r.Identities, r.AppStateKeys, r.AppStateVersions, r.LIDMappings, r.PrivacyTokens)
	for _, l := range r.Lost {
		fmt.Fprintf(p.out, "not carried over: %d %s (%s)\n", l.Count, l.What, l.Cost)
	}
	for _, name := range r.Foreign {
		fmt.Fprintf(p.out, "not Baileys', left alone: %s\n", name)
	}
}

func exportCommand(p program) *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "Move a session out, to another program",
		Long: `Move a session out, to another program.

The session is closed here first, exactly, and stays closed: two programs with one
session lose each other's messages. Its copy in the cloud stays as a restore point.`,
	}
	cmd.AddCommand(
		exportTo(p, "baileys", "Write a session as a Baileys auth folder", "folder", func(cmd *cobra.Command, file []byte, out string) error {
			r, err := transfer.ToBaileys(cmd.Context(), file, out)
			if err == nil {
				p.tellFolder(r)
			}
			return err
		}),
		exportTo(p, "whatsmeow", "Write a session as a whatsmeow SQLite file", "file", func(_ *cobra.Command, file []byte, out string) error {
			return transfer.ToWhatsmeow(file, out)
		}),
	)
	return cmd
}

func exportTo(p program, what, short, kind string, write func(cmd *cobra.Command, file []byte, out string) error) *cobra.Command {
	var session, out string
	cmd := &cobra.Command{
		Use: what, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := transfer.Free(out); err != nil { // before the session is closed for it
				return err
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			file, start, err := c.Export(cmd.Context(), session)
			if err != nil {
				return err
			}
			if err := write(cmd, file, out); err != nil {
				return fmt.Errorf("%w (the session is closed; `connector open %s` brings it back)", err, session)
			}
			fmt.Fprintf(p.out, "%s is in %s\n", session, out)
			if start != "exact" {
				fmt.Fprintln(p.out, "Its last term had not ended in order, so its Signal sessions are not in it: they are built anew with each contact.")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&session, "session", "", "the session (required)")
	cmd.Flags().StringVar(&out, "out", "", "the "+kind+" to write; must not exist (required)")
	for _, flag := range []string{"session", "out"} {
		if err := cmd.MarkFlagRequired(flag); err != nil {
			panic(err) // the flag was added above
		}
	}
	return cmd
}
