package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"testing"
)

func writeCredential(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	writeCredential(t, dir, "SESSION_ENCRYPTION_SECRET", "from a file\n")
	writeCredential(t, dir, "SESSION_ENCRYPTION_SECRET_PREVIOUS", "older , oldest\r\n")
	writeCredential(t, dir, "TIDB_PASSWORD", " blanks stay ")
	writeCredential(t, dir, "WEBHOOK_SECRET", "\n")
	writeCredential(t, dir, "TIDB_HOST", "not a secret, not read")
	p := program{env: map[string]string{
		"CREDENTIALS_DIRECTORY": dir, "SESSION_ENCRYPTION_SECRET": "from the variable", "TIDB_PASSWORD": "",
	}}
	var cfg Config
	if unread, err := p.read(&cfg); err != nil || len(unread) > 0 {
		t.Fatal(unread, err)
	}
	for _, c := range []struct{ name, got, want string }{
		{"SESSION_ENCRYPTION_SECRET", cfg.Secret, "from the variable"},
		{"SESSION_ENCRYPTION_SECRET_PREVIOUS", cfg.Previous, "older , oldest"},
		{"TIDB_PASSWORD", cfg.Password, " blanks stay "},
		{"WEBHOOK_SECRET", cfg.Key, ""},
		{"WEBHOOK_SECRET_PREVIOUS", cfg.OldKeys, ""},
		{"TIDB_HOST", cfg.Host, ""},
	} {
		if c.got != c.want {
			t.Errorf("%s is %q, want %q", c.name, c.got, c.want)
		}
	}
	if got := p.env["SESSION_ENCRYPTION_SECRET_PREVIOUS"]; got != "" {
		t.Errorf("the program's environment was changed: %q", got)
	}
}

// A secret that can't be read is not one that is not there. What a command does
// not use is not read at all.
func TestCredentialUnreadable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "TIDB_PASSWORD"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := program{env: map[string]string{"CREDENTIALS_DIRECTORY": dir}}
	if unread, err := p.read(new(Config)); err != nil || len(unread) != 1 {
		t.Error("a credential that is a folder was taken for none")
	}
	if err := p.load(new(Local)); err != nil {
		t.Errorf("a command without the database: %v", err)
	}
}

// Every variable that sounds like a secret can be a file, and nothing else.
func TestEverySecretCanBeAFile(t *testing.T) {
	secret := regexp.MustCompile(`SECRET|PASSWORD|TOKEN|PRIVATE`)
	var want []string
	for _, f := range fields(reflect.TypeFor[Config]()) {
		if name := f.Tag.Get("env"); secret.MatchString(name) {
			want = append(want, name)
		}
	}
	got := slices.Clone(secretVariables)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("secret variables are %v, want %v", got, want)
	}
}
