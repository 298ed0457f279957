package template

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"cloudsession/functions/api"
)

// checkFunctions: each function is built from its route's folder by the
// Makefile, for the machine it runs on, and may take as long as it has to.
func checkFunctions(t *template, called programs) (problems []string) {
	functions, g := t.functions(), at(t.root, "Globals", "Function")
	if g["Runtime"] != "provided.al2023" || !slices.Equal(texts(g["Architectures"]), []string{"arm64"}) {
		problems = append(problems, fmt.Sprintf("functions run on %v, %v", g["Runtime"], g["Architectures"]))
	}
	for _, r := range api.Routes() {
		name, ok := functions[r.Name]
		if !ok {
			problems = append(problems, "no function for "+r.Name)
			continue
		}
		delete(functions, r.Name)
		if at(t.root, "Resources", name, "Metadata")["BuildMethod"] != "makefile" {
			problems = append(problems, name+" is not built by the Makefile")
		}
		problems = append(problems, checkMakefile(name, r.Name)...)
		p := t.properties(name)
		problems = append(problems, checkEvents(name, r, at(p, "Events"))...)
		// An HTTP API gives up after 30 s.
		timeout, _ := p["Timeout"].(int)
		least := 10
		if len(called[r.Name]) > 0 {
			least = int(api.DefaultWait.Seconds()) + 5
		}
		if timeout < least || timeout > 29 {
			problems = append(problems, fmt.Sprintf("%s has %d s, want %d to 29", name, timeout, least))
		}
	}
	problems = append(problems, t.checkWatcher(functions[watcher])...)
	delete(functions, watcher)
	for folder, name := range functions {
		problems = append(problems, fmt.Sprintf("%s has the folder %q, which is no route", name, folder))
	}
	return problems
}

// watcher is the folder of the one function without a route.
const watcher = "watch-connectors"

// checkWatcher: it runs every minute, as often as the alarms look, and what was
// missed is not said later, as if it were so now.
func (t *template) checkWatcher(name string) (problems []string) {
	if name == "" {
		return []string{"no function for " + watcher}
	}
	p := t.properties(name)
	want := object{"EveryMinute": object{"Type": "Schedule", "Properties": object{"Schedule": "rate(1 minute)"}}}
	if diff := cmp.Diff(want, p["Events"]); diff != "" {
		problems = append(problems, name+" runs at other times\n"+diff)
	}
	if late := at(p, "EventInvokeConfig"); late["MaximumRetryAttempts"] != 0 || late["MaximumEventAgeInSeconds"] != 60 {
		problems = append(problems, fmt.Sprintf("%s may look late: %v", name, late))
	}
	if timeout, _ := p["Timeout"].(int); timeout < 10 || timeout > 60 {
		problems = append(problems, fmt.Sprintf("%s has %d s, want 10 to 60", name, timeout))
	}
	if at(t.root, "Resources", name, "Metadata")["BuildMethod"] != "makefile" {
		problems = append(problems, name+" is not built by the Makefile")
	}
	return append(problems, checkMakefile(name, watcher)...)
}

// checkEvents: a function serves its route, answers the path's other methods and does no more.
func checkEvents(name string, r api.Route, events object) (problems []string) {
	var got []string
	for _, e := range events {
		e := e.(object)
		p := at(e, "Properties")
		got = append(got, fmt.Sprintf("%v %v %v %v", e["Type"], p["ApiId"], strings.ToUpper(text(p["Method"])), p["Path"]))
	}
	slices.Sort(got)
	want := []string{"HttpApi <Api> " + r.Method + " " + r.Path, "HttpApi <Api> ANY " + r.Path}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		problems = append(problems, fmt.Sprintf("%s serves %q, want %q", name, got, want))
	}
	return problems
}

// checkMakefile asks make what it would do.
func checkMakefile(name, folder string) []string {
	cmd := exec.Command("make", "--no-print-directory", "-n", "build-"+name, "ARTIFACTS_DIR=/artifacts")
	cmd.Dir = top
	out, err := cmd.CombinedOutput()
	for _, want := range []string{"GOOS=linux GOARCH=arm64", "-o /artifacts/bootstrap", "./functions/" + folder + "\n", "chmod 0755 /artifacts/bootstrap"} {
		if err != nil || !strings.Contains(string(out), want) {
			return []string{fmt.Sprintf("make build-%s: %v\n%s", name, err, out)}
		}
	}
	return nil
}

// logged is what the access log may hold: no path, no query, no header.
var logged = []string{
	"requestId", "requestTime", "routeKey", "status", "responseLength", "responseLatency", "identity.sourceIp", "error.message",
}

// checkAPI: an access log without ids and tokens, limits, and no other origins.
func checkAPI(t *template, called programs) (problems []string) {
	p := t.properties("Api")
	if p["CorsConfiguration"] != nil || at(t.root, "Globals", "HttpApi")["CorsConfiguration"] != nil {
		problems = append(problems, "other origins are let in")
	}
	if p["Auth"] != nil || p["DefinitionBody"] != nil || p["DefinitionUri"] != nil {
		problems = append(problems, "the API is described in two places")
	}
	format := text(at(p, "AccessLogSettings")["Format"])
	if at(p, "AccessLogSettings")["DestinationArn"] != "<AccessLog.Arn>" || !json.Valid([]byte(format)) || strings.Contains(format, "\n") {
		problems = append(problems, "access log: "+format)
	}
	for _, m := range regexp.MustCompile(`\$[A-Za-z]+\.?([A-Za-z.]*)`).FindAllStringSubmatch(format, -1) {
		if !strings.HasPrefix(m[0], "$context.") || !slices.Contains(logged, m[1]) {
			problems = append(problems, "the access log holds "+m[0])
		}
	}
	if limits := at(p, "DefaultRouteSettings"); limits["ThrottlingRateLimit"] == nil || limits["ThrottlingBurstLimit"] == nil {
		problems = append(problems, "requests are not limited")
	}
	routes := at(p, "RouteSettings")
	for _, r := range api.Routes() {
		key := r.Method + " " + r.Path
		limits := at(routes, key)
		delete(routes, key)
		if len(called[r.Name]) > 0 && (limits["ThrottlingRateLimit"] != t.parameters["CommandsPerSecond"] || limits["ThrottlingBurstLimit"] != t.parameters["CommandsBurst"]) {
			problems = append(problems, key+" waits for connectors, and is not limited as commands are")
		}
	}
	for key := range routes {
		problems = append(problems, "settings for "+key+", which is no route")
	}
	return problems
}

// untaggable are the types that CloudFormation gives no tags.
var untaggable = []string{"AWS::IAM::ManagedPolicy", "AWS::IAM::InstanceProfile"}

// checkTags: a bill and a search can tell the deployments apart.
func checkTags(t *template, _ programs) (problems []string) {
	for name, r := range t.resources("") {
		kind := text(r["Type"])
		if slices.Contains(untaggable, kind) {
			continue
		}
		tags := t.value(at(r, "Properties")["Tags"])
		if kind == "AWS::Serverless::Function" {
			tags = t.value(at(t.root, "Globals", "Function")["Tags"])
		}
		got := map[string]string{}
		switch tags := tags.(type) {
		case object:
			for k, v := range tags {
				got[k] = text(v)
			}
		case []any:
			for _, tag := range tags {
				got[text(tag.(object)["Key"])] = text(tag.(object)["Value"])
			}
		}
		if got["application"] != "cloudsession" || got["deployment"] != t.parameters["Prefix"] {
			problems = append(problems, fmt.Sprintf("%s has tags %v", name, got))
		}
	}
	return problems
}

// outputs is what whoever sets up a connector or a client asks for.
var outputs = map[string]string{
	"ApiUrl":               "https://<Api>.execute-api." + region + ".amazonaws.com",
	"QueuePrefix":          "cloudsession",
	"DeadLetterArn":        "<DeadLetters.Arn>",
	"ConnectorPolicyArn":   "<ConnectorPolicy>",
	"ConnectorProfileName": "<ConnectorProfile>",
	"ConnectorSecret":      "cloudsession/connector",
	"FunctionLogs":         "/cloudsession/functions/",
	"AccessLogName":        "<AccessLog>",
}

func checkOutputs(t *template, _ programs) (problems []string) {
	all := at(t.root, "Outputs")
	for name, want := range outputs {
		o, _ := t.value(all[name]).(object)
		if o["Value"] != want || o["Description"] == nil {
			problems = append(problems, fmt.Sprintf("output %s is %v, want %s", name, o, want))
		}
	}
	for name := range all {
		if outputs[name] == "" {
			problems = append(problems, "nobody knows of the output "+name)
		}
	}
	return append(problems, t.checkLogs()...)
}

// checkLogs: every log is somebody's and ends some day.
func (t *template) checkLogs() (problems []string) {
	want := map[string]string{"AccessLog": "/cloudsession/access"}
	for folder, function := range t.functions() {
		want[function+"Log"] = "/cloudsession/functions/" + folder
	}
	for name := range t.resources("AWS::Logs::LogGroup") {
		p := t.properties(name)
		if p["LogGroupName"] != want[name] || p["RetentionInDays"] != t.parameters["LogRetentionDays"] {
			problems = append(problems, fmt.Sprintf("log %s: %v", name, p))
		}
	}
	return problems
}
