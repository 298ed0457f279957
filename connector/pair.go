package main

import (
	"encoding/json"
	"fmt"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"cloudsession/connector/control"
)

func pairCommand(p program) *cobra.Command {
	var phone string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pair <session>",
		Short: "Link a session to a phone by QR code, or with --code by a pairing code",
		Long: "Link a session to a phone: scan the QR code in WhatsApp under Linked devices. It is replaced\n" +
			"when it expires. With --code, type the code shown here into the phone instead.\n" +
			"A session that is in the cloud already is loaded from there: nothing to scan.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			return c.Pair(cmd.Context(), args[0], control.PairRequest{Phone: phone}, func(e control.PairEvent) error {
				if asJSON {
					if err := json.NewEncoder(p.out).Encode(e); err != nil {
						return err
					}
				}
				return p.showPairing(args[0], e, asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&phone, "code", "", "pair by a code, for this phone number (+62…)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the events as JSON, a line each")
	return cmd
}

// showPairing prints one event; a failed pairing is the command's error.
func (p program) showPairing(session string, e control.PairEvent, quiet bool) error {
	if e.Kind == "failed" {
		return fmt.Errorf("%w: %s", errPairing, e.Error)
	}
	if quiet {
		return nil
	}
	switch e.Kind {
	case "qr":
		fmt.Fprintln(p.out, "Scan this in WhatsApp: Settings, Linked devices, Link a device")
		qrterminal.GenerateHalfBlock(e.QR, qrterminal.L, p.out)
	case "code":
		fmt.Fprintf(p.out, "Type this code into the phone (Linked devices, Link with phone number): %s\n", e.Code)
	case "paired":
		fmt.Fprintf(p.out, "%s is linked\n", session)
	case "loaded":
		fmt.Fprintf(p.out, "%s was in the cloud and is loaded: nothing to scan\n", session)
	}
	return nil
}
