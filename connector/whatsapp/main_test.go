package whatsapp

import (
	"testing"

	"go.uber.org/goleak"

	"cloudsession/infra/local/leaktest"
)

func TestMain(m *testing.M) {
	leaktest.Main(m,
		// whatsmeow's reader hands each frame to a channel without watching for the end of the connection. When the
		// client hangs up while a frame comes in, that goroutine stays, and nobody outside can reach the channel.
		goleak.IgnoreTopFunction("go.mau.fi/whatsmeow/socket.(*FrameSocket).frameComplete"),
	)
}
