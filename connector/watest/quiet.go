package watest

import "go.mau.fi/libsignal/logger"

// SilenceSignal keeps libsignal from printing to standard output, in the whole
// process, what a phone's attempts to decrypt run into. A phone that is sent a
// message for a session it does not know has several such attempts, and then
// asks for the message again: that is how it should be.
func SilenceSignal() {
	var quiet logger.Loggable = quietSignal{}
	logger.Setup(&quiet)
}

type quietSignal struct{}

func (quietSignal) Debug(string, string)   {}
func (quietSignal) Info(string, string)    {}
func (quietSignal) Warning(string, string) {}
func (quietSignal) Error(string, string)   {}
func (quietSignal) Configure(string)       {}
