package baileys

import (
	"testing"

	"cloudsession/connector/watest"
	"cloudsession/infra/local/leaktest"
)

func TestMain(m *testing.M) {
	watest.SilenceSignal()
	leaktest.Main(m, leaktest.Whatsmeow())
}
