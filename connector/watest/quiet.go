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

// Debug implements logger.Loggable.
func (quietSignal) Debug(string, string) {}

// Info implements logger.Loggable.
func (quietSignal) Info(string, string) {}

// Warning implements logger.Loggable.
func (quietSignal) Warning(string, string) {}

// Error implements logger.Loggable.
func (quietSignal) Error(string, string) {}

// Configure implements logger.Loggable.
func (quietSignal) Configure(string) {}
