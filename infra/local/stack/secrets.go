package stack

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// secretsFile holds what was made on first use; who loses it loses the sessions
// in this folder's database.
const secretsFile = "secrets.env"

// The secrets a folder has of its own.
const (
	sessionSecret = "SESSION_ENCRYPTION_SECRET"
	jwtSecret     = "JWT_SECRET"
	tidbPassword  = "TIDB_PASSWORD"
)

// secrets reads the folder's secrets, making those that are missing.
func secrets(dir string) (environment, error) {
	file := filepath.Join(dir, secretsFile)
	have, err := readEnvironment(file)
	if errors.Is(err, os.ErrNotExist) {
		have, err = environment{}, nil
	}
	if err != nil {
		return nil, err
	}
	made := false
	for _, name := range []string{sessionSecret, jwtSecret, tidbPassword} {
		if have[name] == "" {
			var random [32]byte
			if _, err := rand.Read(random[:]); err != nil {
				return nil, fmt.Errorf("make secret: %w", err)
			}
			have[name], made = hex.EncodeToString(random[:]), true
		}
	}
	if !made {
		return have, nil
	}
	return have, have.write(file, "Made on first use. Without the first of these the sessions in this folder's database can't be opened.")
}
