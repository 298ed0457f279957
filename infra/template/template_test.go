package template

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"cloudsession/infra/local/leaktest"
	"cloudsession/infra/local/stack"
)

// check holds a template against one rule and returns what is wrong with it.
type check func(*template, programs) []string

var checks = map[string]check{
	"functions": checkFunctions, "API": checkAPI, "policies": checkPolicies, "own roles": checkOwnRoles, "queues": checkQueues,
	"secrets": checkSecrets, "alarms": checkAlarms, "tags": checkTags, "outputs": checkOutputs,
}

// called is what the built programs can call.
var called programs

func TestMain(m *testing.M) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	err := stack.BuildPrograms(ctx)
	if err == nil {
		called, err = readPrograms()
	}
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	leaktest.Main(m)
}

// variants are the deployments that are looked at.
var variants = map[string]map[string]string{
	"defaults":    nil,
	"key set":     {"JwksUrl": "https://id.example/keys", "JwtIssuer": "https://id.example/", "JwtAudience": "cloud"},
	"alarm topic": {"AlarmTopicArn": "arn:aws:sns:" + region + ":" + account + ":alarms"},
}

func TestTemplate(t *testing.T) {
	raw, err := templateText()
	if err != nil {
		t.Fatal(err)
	}
	for variant, parameters := range variants {
		tpl, err := readTemplate(raw, parameters)
		if err != nil {
			t.Fatal(err)
		}
		for name, check := range checks {
			for _, problem := range check(tpl, called) {
				t.Errorf("%s, %s: %s", variant, name, problem)
			}
		}
	}
}

// TestCalls: what is found in the programs is what DESIGN says of them.
func TestCalls(t *testing.T) {
	for name, calls := range called {
		sends := strings.Contains(strings.Join(calls, " "), "sqs:SendMessage")
		if want := name == "connector" || name == "sync-session" || name == "restore-session"; sends != want {
			t.Errorf("%s sends commands: %t, want %t", name, sends, want)
		}
		if name != "connector" && len(calls) > 1 {
			t.Errorf("%s can do more than send: %s", name, calls)
		}
	}
}

// TestChecksRefuse shows every rule a template that breaks it.
func TestChecksRefuse(t *testing.T) {
	raw, err := templateText()
	if err != nil {
		t.Fatal(err)
	}
	for _, spoil := range spoiled {
		t.Run(spoil.name, func(t *testing.T) {
			changed := strings.Replace(raw, spoil.old, spoil.with, 1)
			if changed == raw {
				t.Fatalf("the template has no %q", spoil.old)
			}
			tpl, err := readTemplate(changed, nil)
			if err != nil {
				t.Fatal(err)
			}
			problems := checks[spoil.check](tpl, called)
			if !strings.Contains(strings.Join(problems, "\n"), spoil.want) {
				t.Errorf("%s finds %q, want %q", spoil.check, problems, spoil.want)
			}
		})
	}
}

var spoiled = []struct{ name, check, old, with, want string }{
	{"action nothing calls", "policies", "- sqs:CreateQueue\n", "- sqs:CreateQueue\n              - sqs:PurgeQueue\n", "sqs:PurgeQueue"},
	{"action missing", "policies", "              - sqs:SendMessage\n", "", "sqs:SendMessage"},
	{"all actions", "policies", "Action: sqs:SendMessage", `Action: "sqs:*"`, "sqs:*"},
	{"all resources", "policies", "Resource: !GetAtt ListSessionsLog.Arn", `Resource: "*"`, "on *"},
	{"another function's log", "policies", "Resource: !GetAtt ListSessionsLog.Arn", "Resource: !GetAtt AccessLog.Arn", "AccessLog"},
	{"all queues", "policies", "${AWS::AccountId}:${Prefix}-*.fifo", "${AWS::AccountId}:*.fifo", ":*.fifo"},
	{"all secrets", "policies", "${Prefix}/connector-??????", "${Prefix}/*", "cloudsession/*"},
	{"function reads a secret", "policies", "Action: [logs:CreateLogStream, logs:PutLogEvents]", "Action: [logs:CreateLogStream, logs:PutLogEvents, secretsmanager:GetSecretValue]", "GetSecretValue"},
	{"statement turned around", "policies", "                Action: sqs:SendMessage", "                NotAction: sqs:SendMessage", "NotAction"},
	{"role for another service", "policies", "Principal: {Service: lambda.amazonaws.com}", `Principal: {AWS: "*"}`, "others than"},
	{"role of nobody", "policies", "  ListSessionsRole:\n", "  Spare: {Type: AWS::IAM::Role, Properties: {}}\n  ListSessionsRole:\n", "Spare"},
	{"shared role", "own roles", "Role: !GetAtt SessionStatusRole.Arn", "Role: !GetAtt SyncSessionRole.Arn", "SessionStatus has role"},
	{"managed policy of AWS", "own roles", "      Role: !GetAtt SessionStatusRole.Arn\n", "      Role: !GetAtt SessionStatusRole.Arn\n      Policies: AWSLambdaExecute\n", "beside its role's"},
	{"shared log", "own roles", "LogGroup: !Ref SessionStatusLog", "LogGroup: !Ref AccessLog", "SessionStatus writes to"},
	{"dead letters in reach", "queues", "${Prefix}_dead-letters", "${Prefix}-dead-letters", "dead-letters.fifo in reach"},
	{"dead letters of another kind", "queues", "FifoQueue: true", "FifoQueue: false", "dead-letter queue"},
	{"prefix with hyphens", "queues", `"[a-z][a-z0-9]{0,29}"`, `"[a-z][a-z0-9-]{0,29}"`, "hyphen"},
	{"plain secret", "secrets", `!Sub "{{resolve:secretsmanager:${Prefix}/jwt:SecretString:secret}}"`, "a-plain-one", "JWT_SECRET=a-plain-one"},
	{"secret from the Parameter Store", "secrets", `!Sub "{{resolve:secretsmanager:${Prefix}/tidb-reader:SecretString:password}}"`, `"{{resolve:ssm:/password}}"`, "resolve:ssm"},
	{"secret as a parameter", "secrets", "  TidbPort:\n", "  TidbPassword: {Type: String, NoEcho: true, Default: x}\n  TidbPort:\n", "TidbPassword"},
	{"reader that writes", "secrets", "tidb-reader:SecretString:user", "tidb-writer:SecretString:user", "tidb-writer"},
	{"connectors' secret for a function", "secrets", "        LOG_LEVEL:", "        MORE: !Sub \"{{resolve:secretsmanager:${Prefix}/connector}}\"\n        LOG_LEVEL:", "MORE="},
	{"the secret's name", "secrets", "        LOG_LEVEL:", "        SESSION_ENCRYPTION_SECRET: x\n        LOG_LEVEL:", "opens sessions"},
	{"TLS off", "secrets", "TIDB_TLS: verify", "TIDB_TLS: \"off\"", "certificate"},
	{"token in the access log", "API", `"ip":`, `"token":"$context.authorizer.principalId","ip":`, "authorizer"},
	{"path in the access log", "API", "$context.routeKey", "$context.path", "$context.path"},
	{"no throttling", "API", "        ThrottlingRateLimit: !Ref RequestsPerSecond\n", "", "not limited"},
	{"commands not throttled", "API", "POST /cloud/sessions/{sessionId}/sync\":", "POST /cloud/sessions/{sessionId}/sink\":", "no route"},
	{"all origins", "API", "      Description: Cloud Session Sync\n", "      Description: Cloud Session Sync\n      CorsConfiguration: true\n", "origins"},
	{"other route", "functions", "Path: /cloud/sessions\n", "Path: /cloud/session\n", "ListSessions serves"},
	{"other method", "functions", "Method: delete", "Method: post", "DeleteSession serves"},
	{"other folder", "functions", "Handler: list-sessions", "Handler: list", "no function for list-sessions"},
	{"not in the Makefile", "functions", "  ListSessions:\n", "  ListAll:\n", "build-ListAll"},
	{"too little time", "functions", "Timeout: 29", "Timeout: 20", "SyncSession has 20 s"},
	{"other machine", "functions", "[arm64]", "[x86_64]", "x86_64"},
	{"no alarm on dead letters", "alarms", "MetricName: ApproximateNumberOfMessagesVisible", "MetricName: NumberOfMessagesSent", "DeadLettersAlarm"},
	{"no alarm on latency", "alarms", "  ListSessionsSlow:", "  ListSlow:", "no alarm ListSessionsSlow"},
	{"watched now and then", "functions", "rate(1 minute)", "rate(5 minutes)", "other times"},
	{"watched late", "functions", "MaximumRetryAttempts: 0", "MaximumRetryAttempts: 2", "may look late"},
	{"nobody watches", "functions", "Handler: watch-connectors", "Handler: watch", "no function for watch-connectors"},
	{"watcher with the tokens' secret", "secrets", "          JWT_SECRET: !Ref AWS::NoValue # it checks no token\n", "", "watch-connectors has JWT_SECRET"},
	{"metrics of another deployment", "secrets", "DEPLOYMENT: !Ref Prefix", "DEPLOYMENT: prod", "DEPLOYMENT=prod"},
	{"silence is good", "alarms", "TreatMissingData: breaching", "TreatMissingData: notBreaching", "StaleConnectors"},
	{"alarm to nobody", "alarms", "AlarmActions: [!If [UseTopic, !Ref AlarmTopicArn, !Ref AWS::NoValue]]", "AlarmActions: [arn]", "goes to"},
	{"slower than ended", "alarms", "Threshold: 15000", "Threshold: 29000", "called slow"},
	{"no tags", "tags", "        - {Key: application, Value: cloudsession}\n", "", "has tags"},
	{"unknown output", "outputs", "  ApiUrl:\n", "  Url:\n", "ApiUrl"},
	{"log for ever", "outputs", "      RetentionInDays: !Ref LogRetentionDays\n", "", "log "},
}
