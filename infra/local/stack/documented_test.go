package stack

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudsession/shared/devtoken"
)

// notPassed are the documented variables that a stack doesn't pass on, and why.
var notPassed = map[string]string{
	"CONNECTOR_ID":          "the starter's: ConnectorOptions.ID, which `make run` takes from the variable",
	"DATA_DIR":              "the starter's: ConnectorOptions.DataDir, which is in DATA under `make run`",
	"CREDENTIALS_DIRECTORY": "for what a service manager starts; the stack's own secrets would hide half of the files",
}

// documented are the variables that the README's section on configuration names for
// connectors and for functions. That it has all of them is tested beside those.
func documented(t *testing.T) (connectors, functions []string) {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, begins := strings.Cut(string(text), "\n## Configuration\n")
	section, _, ends := strings.Cut(section, "\n## ")
	first, second, both := strings.Cut(section, "\nAll functions read the `TIDB_*` variables.")
	if !begins || !ends || !both {
		t.Fatal("README.md has no section on the configuration of connectors and functions")
	}
	connectors, functions = variables(first), variables(second)
	for _, name := range connectors {
		if strings.HasPrefix(name, "TIDB_") {
			functions = append(functions, name)
		}
	}
	return connectors, functions
}

func variables(text string) (names []string) {
	for _, m := range regexp.MustCompile("`\\$?([A-Z]+(?:_[A-Z]+)*)`").FindAllStringSubmatch(text, -1) {
		if !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
	}
	return names
}

// given is an environment that has every variable but those named; what tells them
// apart stands for a value.
func given(without ...string) func(string) string {
	return func(name string) string {
		switch {
		case slices.Contains(without, name):
			return ""
		case name == "TIDB_PORT":
			return "4001"
		}
		return "given " + name
	}
}

// prepared is a stack that has settled what its processes are told, and starts none.
func prepared(t *testing.T, getenv func(string) string) *Stack {
	t.Helper()
	s := &Stack{options: Options{Dir: t.TempDir(), Getenv: getenv}}
	if err := s.takeFolder(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	var err error
	if s.db, err = startDatabase(t.Context(), "", s.options.Dir, "", getenv); err != nil {
		t.Fatal(err)
	}
	if err := s.startQueue(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDocumentedVariables: what the README says of variables holds under `make run`:
// each reaches those that read it.
func TestDocumentedVariables(t *testing.T) {
	connectors, functions := documented(t)
	for _, c := range []struct {
		what, without string // the functions take one of two ways to check tokens
	}{
		{"tokens of an identity provider", "JWT_SECRET"}, {"tokens signed with a secret", "JWT_JWKS_URL"},
	} {
		getenv := given(c.without)
		s := prepared(t, getenv)
		reaches(t, "connector", connectors, getenv, s.connectorEnv(ConnectorOptions{ID: "a", DataDir: "b"}))
		reaches(t, "function, "+c.what, functions, getenv, s.functionEnv())
		// What is noted of the run is a function's environment, too: it has one way.
		if noted := s.functionEnv().merge(s.connectorEnv(ConnectorOptions{ID: "a", DataDir: "b"})); noted[c.without] != "" {
			t.Errorf("%s: %s is noted, too", c.what, c.without)
		}
	}
}

func reaches(t *testing.T, what string, names []string, getenv func(string) string, env environment) {
	t.Helper()
	if len(names) < 10 {
		t.Errorf("%s: the README names only %q", what, names)
	}
	for _, name := range names {
		_, kept := notPassed[name]
		if passed := env[name] == getenv(name); passed == kept {
			t.Errorf("%s: %s is %q; passed on: %v, want %v", what, name, env[name], passed, !kept)
		}
	}
}

// TestOwnQueueGetsNoKeys: with the emulator no key of AWS reaches any process.
func TestOwnQueueGetsNoKeys(t *testing.T) {
	s := prepared(t, given("AWS_ENDPOINT_URL_SQS", "JWT_JWKS_URL"))
	for what, env := range map[string]environment{
		"connector": s.connectorEnv(ConnectorOptions{ID: "a", DataDir: "b"}), "function": s.functionEnv(),
	} {
		for name, value := range env {
			if strings.HasPrefix(name, "AWS_") && strings.HasPrefix(value, "given ") {
				t.Errorf("a %s is given %s", what, name)
			}
		}
	}
}

// TestTokensOfAnIssuer: a stack whose functions ask for an issuer starts, and mints no
// tokens that they would refuse.
func TestTokensOfAnIssuer(t *testing.T) {
	s := start(t, Options{Dir: shortDir(t), Out: t.Output(), Getenv: func(name string) string {
		return map[string]string{"JWT_ISSUER": "https://id.example"}[name]
	}})
	if token, err := s.Token(); err == nil || !strings.Contains(err.Error(), "JWT_ISSUER") {
		t.Errorf("it minted %q, %v", token, err)
	}
	token, err := devtoken.Mint([]byte(s.JWTSecret()), "x", []string{devtoken.ScopeRead}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, s, "/cloud/sessions", token); status != http.StatusUnauthorized {
		t.Errorf("a token of no issuer: %d %s", status, body)
	}
}
