package template

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"cloudsession/functions/api"
)

// variables are a function's, filled in. Its own go before everybody's, also
// where they say that there is none.
func (t *template) variables(function string) map[string]string {
	all := object{}
	maps.Copy(all, at(t.root, "Globals", "Function", "Environment", "Variables"))
	maps.Copy(all, at(t.root, "Resources", function, "Properties", "Environment", "Variables"))
	found := map[string]string{}
	for name, v := range t.value(all).(object) {
		found[name] = fmt.Sprint(v)
	}
	return found
}

// folders are those of all functions.
func folders() []string {
	all := []string{watcher}
	for _, r := range api.Routes() {
		all = append(all, r.Name)
	}
	return all
}

// sources says where each variable comes from that not everybody may know.
func (t *template) sources(folder string) map[string]string {
	prefix := t.parameters["Prefix"]
	user := "reader"
	for _, r := range api.Routes() {
		if r.Name == folder && slices.Equal(r.Scopes, []string{api.ScopeWrite}) {
			user = "writer"
		}
	}
	secret := "{{resolve:secretsmanager:" + prefix + "/"
	want := map[string]string{
		"TIDB_HOST":     "{{resolve:ssm:/" + prefix + "/tidb-host}}",
		"TIDB_DATABASE": "{{resolve:ssm:/" + prefix + "/tidb-database}}",
		"TIDB_USER":     secret + "tidb-" + user + ":SecretString:user}}",
		"TIDB_PASSWORD": secret + "tidb-" + user + ":SecretString:password}}",
		"DEPLOYMENT":    prefix,
		// Without it CloudFormation would not take a changed secret over.
		"CONFIGURATION_REVISION": t.parameters["ConfigurationRevision"],
	}
	if t.parameters["JwksUrl"] == "" && folder != watcher {
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
	for _, folder := range folders() {
		want, got := t.sources(folder), t.variables(functions[folder])
		for name, v := range got {
			if v != want[name] && !slices.Contains(open, name) {
				problems = append(problems, fmt.Sprintf("%s has %s=%s, want %q", folder, name, v, want[name]))
			}
			delete(want, name)
		}
		for name := range want {
			problems = append(problems, folder+" lacks "+name)
		}
		if got["TIDB_TLS"] != "verify" {
			problems = append(problems, folder+" does not verify TiDB's certificate")
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
