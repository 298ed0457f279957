package watest_test

import (
	"testing"

	"go.mau.fi/whatsmeow"

	"cloudsession/connector/watest"
	"cloudsession/infra/local/leaktest"
)

func TestMain(m *testing.M) {
	whatsmeow.WACertPubKey = watest.TestRootKey
	watest.SilenceSignal()
	leaktest.Main(m, leaktest.Whatsmeow())
}
