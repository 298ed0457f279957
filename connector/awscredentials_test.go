package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

const awsFile = "[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = of-the-file\n"

type environment map[string]string

func (e environment) get(name string) string { return e[name] }

// Outside AWS the keys are in a file, which the unit names, or a credential.
func TestAWSCredentialsFile(t *testing.T) {
	dir := t.TempDir()
	writeCredential(t, dir, "AWS_CREDENTIALS", awsFile)
	file := filepath.Join(dir, "AWS_CREDENTIALS")
	writeCredential(t, dir, "none", "\n")
	const keys = "AKIAEXAMPLE of-the-file"
	for _, c := range []struct {
		name string
		env  environment
		want string
	}{
		{"named", environment{"AWS_SHARED_CREDENTIALS_FILE": file}, keys},
		{"named and not set", environment{"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "none"), "CREDENTIALS_DIRECTORY": dir}, ""},
		{"not named", environment{"CREDENTIALS_DIRECTORY": dir}, keys}, // a container
		{"not there", environment{"CREDENTIALS_DIRECTORY": t.TempDir()}, ""},
		{"keys in the environment win", environment{"AWS_SHARED_CREDENTIALS_FILE": file, "AWS_ACCESS_KEY_ID": "AKIAOTHER"}, ""},
		{"also over a credential", environment{"CREDENTIALS_DIRECTORY": dir, "AWS_ACCESS_KEY_ID": "AKIAOTHER"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			provider, err := awsCredentials(t.Context(), c.env.get)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if provider != nil {
				keys, err := provider.Retrieve(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				got = keys.AccessKeyID + " " + keys.SecretAccessKey
			}
			if got != c.want {
				t.Errorf("keys %q, want %q", got, c.want)
			}
		})
	}
}

// A file without keys is a mistake of the configuration, told without what is in it.
func TestAWSCredentialsFileWithoutKeys(t *testing.T) {
	for _, text := range []string{"hunter2", "[other]\naws_access_key_id = hunter2\n", "[default]\naws_access_key_id = hunter2\n"} {
		dir := t.TempDir()
		writeCredential(t, dir, "keys", text)
		_, err := awsCredentials(t.Context(), environment{"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "keys")}.get)
		if _, mistake := errors.AsType[configMistake](err); !mistake || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
	dir := t.TempDir()
	writeCredential(t, dir, "AWS_CREDENTIALS", "hunter2")
	unnamed := environment{"CREDENTIALS_DIRECTORY": dir}
	_, err := awsCredentials(t.Context(), unnamed.get)
	if _, mistake := errors.AsType[configMistake](err); !mistake || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a credential without keys: %v", err)
	}
	none := environment{"AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none")}
	if _, err := awsCredentials(t.Context(), none.get); err == nil {
		t.Error("a file that is not there was taken for none")
	}
}
