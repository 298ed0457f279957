package template

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cloudsession/functions/api"
)

// variables are a function's, filled in.
func (t *template) variables(function string) map[string]string {
	found := map[string]string{}
	for _, o := range []any{at(t.root, "Globals", "Function", "Environment")["Variables"], at(t.root, "Resources", function, "Properties", "Environment")["Variables"]} {
		if filled, ok := t.value(o).(object); ok {
			for name, v := range filled {
				found[name] = fmt.Sprint(v)
			}
		}
	}
	return found
}

// sources says where each variable comes from that not everybody may know.
func (t *template) sources(r api.Route) map[string]string {
	prefix := t.parameters["Prefix"]
	user := "reader"
	if slices.Equal(r.Scopes, []string{api.ScopeWrite}) {
		user = "writer"
	}
	secret := "{{resolve:secretsmanager:" + prefix + "/"
	want := map[string]string{
		"TIDB_HOST":     "{{resolve:ssm:/" + prefix + "/tidb-host}}",
		"TIDB_DATABASE": "{{resolve:ssm:/" + prefix + "/tidb-database}}",
		"TIDB_USER":     secret + "tidb-" + user + ":SecretString:user}}",
		"TIDB_PASSWORD": secret + "tidb-" + user + ":SecretString:password}}",
	}
	if t.parameters["JwksUrl"] == "" {
		want["JWT_SECRET"] = secret + "jwt:SecretString:secret}}"
	}
	return want
}

// open are the variables anybody may know.
var open = []string{"TIDB_PORT", "TIDB_TLS", "JWT_JWKS_URL", "JWT_ISSUER", "JWT_AUDIENCE", "LOG_LEVEL"}

// checkSecrets: secrets are in Secrets Manager, the functions get their own and
// never the connectors', those that read read as a user who can't write, and
// TiDB is never talked to in the open.
func checkSecrets(t *template, _ programs) (problems []string) {
	functions := t.functions()
	for _, r := range api.Routes() {
		want, got := t.sources(r), t.variables(functions[r.Name])
		for name, v := range got {
			if v != want[name] && !slices.Contains(open, name) {
				problems = append(problems, fmt.Sprintf("%s has %s=%s, want %q", r.Name, name, v, want[name]))
			}
			delete(want, name)
		}
		for name := range want {
			problems = append(problems, r.Name+" lacks "+name)
		}
		if got["TIDB_TLS"] != "verify" {
			problems = append(problems, r.Name+" does not verify TiDB's certificate")
		}
	}
	for name := range at(t.root, "Parameters") {
		if regexp.MustCompile(`(?i)secret|password|token|credential|private|passphrase`).MatchString(name) {
			problems = append(problems, "parameter "+name+" takes a secret in the open")
		}
	}
	if strings.Contains(fmt.Sprint(t.root), "SESSION_ENCRYPTION") { // not the comments
		problems = append(problems, "the secret that opens sessions is named")
	}
	return problems
}
