package baileys

import (
	"testing"

	"go.uber.org/goleak"

	"cloudsession/connector/watest"
	"cloudsession/infra/local/leaktest"
)

func TestMain(m *testing.M) {
	watest.SilenceSignal()
	leaktest.Main(m,
		// whatsmeow's own: a frame that arrives while a client disconnects finds
		// nobody to take it, and its reader waits for ever.
		goleak.IgnoreTopFunction("go.mau.fi/whatsmeow/socket.(*FrameSocket).frameComplete"),
	)
}
