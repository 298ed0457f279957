package manager

import (
	"testing"

	"cloudsession/infra/local/leaktest"
	"cloudsession/infra/local/tidbtest"
)

func TestMain(m *testing.M) { tidbtest.Main(m, func() error { return leaktest.Find() }) }
