package watest_test

import (
	"testing"

	"go.mau.fi/libsignal/logger"
	"go.mau.fi/whatsmeow"
	"go.uber.org/goleak"

	"cloudsession/connector/watest"
)

func TestMain(m *testing.M) {
	whatsmeow.WACertPubKey = watest.TestRootKey
	quiet := logger.Loggable(quietLog{})
	logger.Setup(&quiet)
	goleak.VerifyTestMain(m,
		// whatsmeow's own: a frame that arrives while a client disconnects finds
		// nobody to take it, and its reader waits for ever.
		goleak.IgnoreTopFunction("go.mau.fi/whatsmeow/socket.(*FrameSocket).frameComplete"),
	)
}

// quietLog keeps libsignal from printing the errors these tests cause.
type quietLog struct{}

func (quietLog) Debug(string, string)   {}
func (quietLog) Info(string, string)    {}
func (quietLog) Warning(string, string) {}
func (quietLog) Error(string, string)   {}
func (quietLog) Configure(string)       {}
