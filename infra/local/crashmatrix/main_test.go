package crashmatrix_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"cloudsession/infra/local/leaktest"
	"cloudsession/infra/local/tidbtest"
)

func TestMain(m *testing.M) {
	tidbtest.Main(m, func() error { return leaktest.Find(leaktest.Whatsmeow()) })
}

// patience bounds what must happen, on a machine that may be busy.
const patience = 2 * time.Minute

// seed chooses what of the matrix runs, from CLOUDSESSION_SEED if set.
var seed = sync.OnceValue(func() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("CLOUDSESSION_SEED"), 10, 64); err == nil {
		return n
	}
	return rand.Uint64()
})
