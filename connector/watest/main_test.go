package watest_test

import (
	"testing"

	"go.mau.fi/whatsmeow"
	"go.uber.org/goleak"

	"cloudsession/connector/watest"
	"cloudsession/infra/local/leaktest"
)

func TestMain(m *testing.M) {
	whatsmeow.WACertPubKey = watest.TestRootKey
	watest.SilenceSignal()
	leaktest.Main(m,
		// whatsmeow's own: a frame that arrives while a client disconnects finds
		// nobody to take it, and its reader waits for ever.
		goleak.IgnoreTopFunction("go.mau.fi/whatsmeow/socket.(*FrameSocket).frameComplete"),
	)
}
