package whatsapp

import (
	"testing"

	"cloudsession/infra/local/leaktest"
)

func TestMain(m *testing.M) {
	leaktest.Main(m, leaktest.Whatsmeow())
}
