package template

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"cloudsession/functions/api"
	"cloudsession/shared/command"
)

// statement is what a policy allows.
type statement struct{ actions, resources []string }

// logActions are what Lambda does with a function's role by itself.
var logActions = []string{"logs:CreateLogStream", "logs:PutLogEvents"}

// statements are those of a role's or managed policy's documents. Anything but
// plain permission is a problem: nothing here needs it.
func (t *template) statements(name string) (list []statement, problems []string) {
	p := t.properties(name)
	documents := []any{p["PolicyDocument"]}
	if p["PolicyDocument"] == nil {
		documents = nil
	}
	inline, _ := p["Policies"].([]any)
	for _, policy := range inline {
		documents = append(documents, policy.(object)["PolicyDocument"])
	}
	for _, d := range documents {
		for _, s := range d.(object)["Statement"].([]any) {
			s := s.(object)
			for key := range s {
				if key != "Effect" && key != "Action" && key != "Resource" {
					problems = append(problems, fmt.Sprintf("%s has a statement with %s", name, key))
				}
			}
			if s["Effect"] != "Allow" {
				problems = append(problems, fmt.Sprintf("%s has a statement with effect %v", name, s["Effect"]))
			}
			list = append(list, statement{texts(s["Action"]), texts(s["Resource"])})
		}
	}
	return list, problems
}

// checkPolicies holds every permission against what the programs call: one that
// nothing needs is wrong, and so is one that is missing.
func checkPolicies(t *template, called programs) (problems []string) {
	allowed, known := map[string]string{}, map[string]bool{}
	for folder, function := range t.functions() {
		role := function + "Role"
		known[role] = true
		log := "<" + function + "Log.Arn>"
		problems = append(problems, t.checkRole(role, "lambda.amazonaws.com", nil)...)
		allowed[role] = permissions(called[folder], t.queues()) + permissions(logActions, log)
	}
	known["ConnectorPolicy"], known["ConnectorRole"] = true, true
	allowed["ConnectorPolicy"] = permissions(called["connector"], t.queues())
	allowed["ConnectorRole"] = permissions([]string{"secretsmanager:GetSecretValue"}, t.connectorSecret())
	problems = append(problems, t.checkRole("ConnectorRole", "ec2.amazonaws.com", []string{"<ConnectorPolicy>"})...)
	for name, r := range t.resources("") {
		if strings.HasPrefix(text(r["Type"]), "AWS::IAM::") && !known[name] && r["Type"] != "AWS::IAM::InstanceProfile" {
			problems = append(problems, name+" belongs to no function and no connector")
		}
	}
	for name, want := range allowed {
		list, more := t.statements(name)
		problems = append(problems, more...)
		var got []string
		for _, s := range list {
			for _, resource := range s.resources {
				got = append(got, permissions(s.actions, resource))
			}
		}
		problems = append(problems, differences(name, lines(want), lines(strings.Join(got, "")))...)
	}
	return problems
}

// permissions are lines of an action and what it may be done to.
func permissions(actions []string, resource string) string {
	var b strings.Builder
	for _, a := range actions {
		b.WriteString(a + " on " + resource + "\n")
	}
	return b.String()
}

func lines(s string) []string {
	list := strings.Split(strings.TrimSpace(s), "\n")
	slices.Sort(list)
	return slices.Compact(list)
}

// differences are what is needed and not allowed, and the other way round.
func differences(name string, needed, allowed []string) (problems []string) {
	for _, p := range needed {
		if !slices.Contains(allowed, p) {
			problems = append(problems, name+" lacks "+p)
		}
	}
	for _, p := range allowed {
		if !slices.Contains(needed, p) {
			problems = append(problems, name+" need not "+p)
		}
	}
	return problems
}

func (t *template) queues() string {
	return "arn:aws:sqs:" + region + ":" + account + ":" + t.parameters["Prefix"] + "-*.fifo"
}

func (t *template) connectorSecret() string {
	return "arn:aws:secretsmanager:" + region + ":" + account + ":secret:" + t.parameters["Prefix"] + "/connector-??????"
}

// checkRole: the role is there, for one service, with no other policies.
func (t *template) checkRole(name, service string, managed []string) (problems []string) {
	if at(t.root, "Resources", name)["Type"] != "AWS::IAM::Role" {
		return []string{"there is no role " + name}
	}
	p := t.properties(name)
	want := []any{object{"Effect": "Allow", "Principal": object{"Service": service}, "Action": "sts:AssumeRole"}}
	if diff := cmp.Diff(want, at(p, "AssumeRolePolicyDocument")["Statement"]); diff != "" {
		problems = append(problems, name+" is for others than "+service+"\n"+diff)
	}
	if got := texts(p["ManagedPolicyArns"]); !slices.Equal(got, managed) {
		problems = append(problems, fmt.Sprintf("%s has policies %s, want %s", name, got, managed))
	}
	return problems
}

// checkOwnRoles: a function has its role and its log to itself, and only routes
// that write may reach a queue.
func checkOwnRoles(t *template, called programs) (problems []string) {
	for folder, function := range t.functions() {
		p := t.properties(function)
		if want := "<" + function + "Role.Arn>"; p["Role"] != want {
			problems = append(problems, fmt.Sprintf("%s has role %v, want %s", function, p["Role"], want))
		}
		if want := "<" + function + "Log>"; at(p, "LoggingConfig")["LogGroup"] != want {
			problems = append(problems, fmt.Sprintf("%s writes to %v, want %s", function, at(p, "LoggingConfig")["LogGroup"], want))
		}
		if p["Policies"] != nil {
			problems = append(problems, function+" has policies beside its role's")
		}
		i := slices.IndexFunc(api.Routes(), func(r api.Route) bool { return r.Name == folder })
		if i < 0 {
			continue // another check's
		}
		if writes := slices.Equal(api.Routes()[i].Scopes, []string{api.ScopeWrite}); !writes && len(called[folder]) > 0 {
			problems = append(problems, fmt.Sprintf("%s only reads, and calls %s", folder, called[folder]))
		}
	}
	if got := texts(t.properties("ConnectorProfile")["Roles"]); !slices.Equal(got, []string{"<ConnectorRole>"}) {
		problems = append(problems, fmt.Sprintf("the instance profile has roles %s", got))
	}
	return problems
}

// checkQueues: connectors' queues are in reach of the policies; the dead-letter
// queue and other deployments' queues are not.
func checkQueues(t *template, _ programs) (problems []string) {
	p := t.properties("DeadLetters")
	name, prefix := text(p["QueueName"]), t.parameters["Prefix"]
	if p["FifoQueue"] != true || !strings.HasSuffix(name, ".fifo") || p["MessageRetentionPeriod"] != 14*24*60*60 || p["SqsManagedSseEnabled"] != true {
		problems = append(problems, fmt.Sprintf("dead-letter queue %v", p))
	}
	for queue, want := range map[string]bool{
		command.QueueName(prefix, "vm-1"):                  true,
		command.QueueName(prefix, strings.Repeat("x", 99)): true,
		command.QueueName(prefix+"test", "vm-1"):           false,
		command.QueueName("other", prefix+"-vm-1"):         false,
		name: false,
	} {
		arn := "arn:aws:sqs:" + region + ":" + account + ":" + queue
		if got, err := path.Match(t.queues(), arn); err != nil || got != want {
			problems = append(problems, fmt.Sprintf("%s in reach of the policies: %t, %v", queue, got, err))
		}
	}
	pattern := text(at(t.root, "Parameters", "Prefix")["AllowedPattern"])
	if strings.Contains(strings.ReplaceAll(strings.ReplaceAll(pattern, "a-z", ""), "0-9", ""), "-") {
		problems = append(problems, "a prefix may begin with another deployment's and a hyphen: "+pattern)
	}
	return problems
}
