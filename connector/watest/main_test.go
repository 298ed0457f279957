package watest_test

import (
	"testing"

	"cloudsession/connector/watest"
	"go.mau.fi/whatsmeow"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	whatsmeow.WACertPubKey = watest.TestRootKey
	goleak.VerifyTestMain(m)
}
