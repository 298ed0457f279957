package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
)

// secretVariables are those that may also be files: one of the variable's name in
// the folder $CREDENTIALS_DIRECTORY, where systemd puts what LoadCredential= names
// (systemd.exec(5)). An environment is inherited, shows in /proc and in
// `systemctl show`; the files are this service's alone. A variable that is set
// wins; an empty file counts as not set; a line break at the end is not part of
// the secret.
var secretVariables = []string{
	"SESSION_ENCRYPTION_SECRET", "SESSION_ENCRYPTION_SECRET_PREVIOUS",
	"TIDB_PASSWORD",
	"WEBHOOK_SECRET", "WEBHOOK_SECRET_PREVIOUS",
}

// withCredentials returns the environment, with the secrets of target's variables
// that are files. One that is there and can't be read is a problem.
func (p program) withCredentials(target any) (map[string]string, []problem) {
	dir := p.env["CREDENTIALS_DIRECTORY"]
	if dir == "" {
		return p.env, nil
	}
	environment := maps.Clone(p.env)
	var unread []problem
	for _, f := range fields(reflect.TypeOf(target).Elem()) {
		name := f.Tag.Get("env")
		if environment[name] != "" || !slices.Contains(secretVariables, name) {
			continue
		}
		secret, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			unread = append(unread, problem{name, fmt.Errorf("read credential %s: %w", name, err)})
			continue
		}
		environment[name] = string(bytes.TrimRight(secret, "\r\n"))
	}
	return environment, unread
}
