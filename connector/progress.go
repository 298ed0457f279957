package main

import (
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// meter shows how far a command has come, on a terminal; elsewhere nothing.
type meter struct{ bar *progressbar.ProgressBar }

func newMeter(w io.Writer, total int, unit string) meter {
	file, isFile := w.(*os.File)
	return meter{progressbar.NewOptions(total,
		progressbar.OptionSetWriter(w), progressbar.OptionSetVisibility(isFile && term.IsTerminal(int(file.Fd()))),
		progressbar.OptionShowCount(), progressbar.OptionSetItsString(unit), progressbar.OptionClearOnFinish(),
	)}
}

// step and end ignore a terminal that went away: the work goes on without it.
func (m meter) step() { _ = m.bar.Add(1) }

func (m meter) end() {
	if m.bar != nil {
		_ = m.bar.Finish()
	}
}
