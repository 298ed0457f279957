package e2e

import (
	"fmt"
	"os"

	"cloudsession/infra/local/rig"
)

// ownRaces finds the races of our own code in the processes' logs.
func ownRaces(logFile string) (races []string, err error) {
	log, err := os.ReadFile(logFile)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return rig.OwnRaces(string(log)), nil
}
