package manager

import (
	"testing"

	"go.uber.org/goleak"

	"cloudsession/infra/local/tidbtest"
)

func TestMain(m *testing.M) { tidbtest.Main(m, func() error { return goleak.Find() }) }
