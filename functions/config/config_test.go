package config

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloudsession/shared/cloudstore"
)

type everything struct {
	Database
	Tokens
	Queue
	Logging
}

const secret = "0123456789abcdef0123456789abcdef"

func good() []string {
	return []string{
		"TIDB_HOST=db.example", "TIDB_USER=u", "TIDB_PASSWORD=p", "TIDB_DATABASE=crm",
		"JWT_SECRET=" + secret, "AWS_REGION=ap-southeast-1", "AWS_ACCESS_KEY_ID=k", "AWS_SECRET_ACCESS_KEY=s",
		"SESSION_ENCRYPTION_SECRET=must not be read", "PATH=/bin",
	}
}

func TestRead(t *testing.T) {
	var c everything
	if err := Read(&c, good()); err != nil {
		t.Fatal(err)
	}
	want := everything{
		Database{Host: "db.example", Port: 4000, User: "u", Password: "p", Name: "crm"},
		Tokens{Secret: secret},
		Queue{Region: "ap-southeast-1", Wait: 20 * time.Second},
		Logging{Level: slog.LevelInfo, Format: "json"},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	wantStore := cloudstore.Config{Host: "db.example", Port: 4000, User: "u", Password: "p", Database: "crm", MaxConns: 2}
	if diff := cmp.Diff(wantStore, c.Store(nil)); diff != "" {
		t.Error(diff)
	}
}

// TestMistakes: all of them are listed at once, and no secret is quoted.
func TestMistakes(t *testing.T) {
	tests := []struct {
		name    string
		environ []string
		want    []string
	}{
		{"nothing", nil, []string{"TIDB_HOST", "TIDB_USER", "TIDB_DATABASE", "JWT_SECRET", "AWS_REGION"}},
		{"empty", []string{"TIDB_HOST=", "TIDB_USER=", "TIDB_DATABASE="}, []string{"TIDB_HOST", "TIDB_USER", "TIDB_DATABASE"}},
		{"ports and modes", append(good(), "TIDB_PORT=0", "TIDB_TLS=maybe", "LOG_FORMAT=xml", "COMMAND_WAIT=25s"), []string{"TIDB_PORT", "TIDB_TLS", "LOG_FORMAT", "COMMAND_WAIT"}},
		{"no numbers", append(good(), "TIDB_PORT=x", "COMMAND_WAIT=soon", "LOG_LEVEL=loud"), []string{"Port", "Wait", "Level"}},
		{"weak secret", append(good(), "JWT_SECRET=short-secret"), []string{"shorter than 32 bytes"}},
		{"two ways", append(good(), "JWT_JWKS_URL=https://id.example/keys"), []string{"both set"}},
		{"queue in the open", append(good(), "AWS_ENDPOINT_URL_SQS=http://queue.example"), []string{"AWS_ENDPOINT_URL_SQS"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c everything
			err := Read(&c, tt.environ)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("does not name %s:\n%s", w, err)
				}
			}
			for _, s := range []string{secret, "short-secret", "must not be read"} {
				if strings.Contains(err.Error(), s) {
					t.Errorf("quotes a secret:\n%s", err)
				}
			}
		})
	}
}

// TestGroupsAreOptional: a function without a queue needs no region.
func TestGroupsAreOptional(t *testing.T) {
	var c struct {
		Database
		Tokens
	}
	if err := Read(&c, good()[:5]); err != nil {
		t.Error(err)
	}
}

func TestLogger(t *testing.T) {
	for format, want := range map[string]string{"json": `"msg":"hello"`, "text": "msg=hello"} {
		var b bytes.Buffer
		log := Logging{Level: slog.LevelWarn, Format: format}.Logger(&b)
		log.Info("quiet")
		log.Warn("hello")
		if !strings.Contains(b.String(), want) || strings.Contains(b.String(), "quiet") {
			t.Errorf("%s: %s", format, b.String())
		}
	}
}
