// Command licences says under which licences the shipped programs are: it finds
// the modules that are linked into the connector and the functions, and reads
// their licence files.
//
//	licences list               LICENSES-THIRD-PARTY.md, on standard output
//	licences copyright FILE     all licence texts of the connector, for its packages
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) == 1 && args[0] == "list":
		modules, err := shipped(ctx, ".")
		if err != nil {
			return err
		}
		_, err = io.WriteString(out, list(modules))
		return err
	case len(args) == 2 && args[0] == "copyright":
		modules, err := shipped(ctx, ".")
		if err != nil {
			return err
		}
		text, err := copyright(ctx, ".", modules)
		if err != nil {
			return err
		}
		return os.WriteFile(args[1], text, 0o644) //nolint:gosec // G306: everybody may read it, in the package as well
	}
	return errors.New("usage: licences list | licences copyright FILE")
}

// shipped are the modules of all shipped programs, with their licences; an error
// when one of them may not be shipped.
func shipped(ctx context.Context, root string) ([]module, error) {
	modules, err := linked(ctx, root)
	if err != nil {
		return nil, err
	}
	for i := range modules {
		if err := modules[i].read(); err != nil {
			return nil, err
		}
	}
	return modules, check(modules)
}
