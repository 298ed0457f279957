package template

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"cloudsession/functions/api"
	"cloudsession/infra/local/lambdaemu"
)

// environment is what a function finds when it is deployed: the template's
// variables with stand-ins for what CloudFormation fills in, and what Lambda adds.
func (t *template) environment(function string) []string {
	env := []string{"AWS_REGION=" + region, "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=key"}
	dynamic := regexp.MustCompile(`\{\{resolve:[^}]+\}\}`)
	for name, v := range t.variables(function) {
		env = append(env, name+"="+dynamic.ReplaceAllStringFunc(v, func(reference string) string {
			if strings.HasSuffix(reference, "/tidb-host}}") {
				return "127.0.0.1"
			}
			return strings.Repeat("x", 40)
		}))
	}
	return env
}

// withoutToken is a route's request as the gateway hands it over.
func withoutToken(t *testing.T, r api.Route) []byte {
	t.Helper()
	var e events.APIGatewayV2HTTPRequest
	e.Version, e.RouteKey = "2.0", r.Method+" "+r.Path
	e.PathParameters = map[string]string{"sessionId": "personal", "commandId": "01KFJ4V7Z6ZB3Q8J6T1N5M2R9C"}
	e.RawPath = strings.NewReplacer("{sessionId}", "personal", "{commandId}", "01KFJ4V7Z6ZB3Q8J6T1N5M2R9C").Replace(r.Path)
	e.RequestContext.DomainName, e.RequestContext.RequestID = "api.example", "x"
	e.RequestContext.HTTP.Method, e.RequestContext.HTTP.Path = r.Method, e.RawPath
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestEnvironment: with the variables that the template gives it, and no others,
// each function starts and answers; one that is missing or wrong would end it.
func TestEnvironment(t *testing.T) {
	raw, err := templateText()
	if err != nil {
		t.Fatal(err)
	}
	built, err := filepath.Abs(filepath.Join(top, ".build", "lambda"))
	if err != nil {
		t.Fatal(err)
	}
	for name, parameters := range map[string]map[string]string{
		"secret":  {"TidbPort": "1"},
		"key set": {"TidbPort": "1", "JwksUrl": "https://127.0.0.1:1/keys", "JwtIssuer": "https://id.example/", "JwtAudience": "cloud"},
	} {
		tpl, err := readTemplate(raw, parameters)
		if err != nil {
			t.Fatal(err)
		}
		o := lambdaemu.Options{Out: t.Output(), InitTimeout: time.Minute, Timeout: time.Minute}
		functions := tpl.functions()
		for _, folder := range folders() {
			o.Functions = append(o.Functions, lambdaemu.Function{
				Name: folder, Binary: filepath.Join(built, folder, "bootstrap"), Env: tpl.environment(functions[folder]),
			})
		}
		host, err := lambdaemu.New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer host.Close()
		for _, r := range api.Routes() {
			result, err := host.Invoke(t.Context(), r.Name, withoutToken(t, r))
			if err != nil {
				t.Errorf("%s, %s: %v", name, r.Name, err)
				continue
			}
			var response events.APIGatewayV2HTTPResponse
			if err := json.Unmarshal(result.Payload, &response); err != nil || response.StatusCode != 401 {
				t.Errorf("%s, %s: %s, %v", name, r.Name, result.Payload, err)
			}
		}
		// It starts, looks, and says that nothing answers there.
		_, err = host.Invoke(t.Context(), watcher, []byte("{}"))
		if refused, ok := errors.AsType[*lambdaemu.FunctionError](err); !ok || !strings.Contains(refused.Message, "read vitals") {
			t.Errorf("%s, %s: %v", name, watcher, err)
		}
	}
}
