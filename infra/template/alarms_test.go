package template

import (
	"fmt"
	"maps"
	"slices"
)

// alarms is what is watched: namespace, metric, dimension and its value, and how
// missing data counts: where somebody looks every minute, none is bad news.
func (t *template) alarms() map[string]string {
	want := map[string]string{
		"DeadLettersAlarm":     "AWS/SQS ApproximateNumberOfMessagesVisible QueueName=<DeadLetters.QueueName> Maximum notBreaching",
		"ServerErrorsAlarm":    "AWS/ApiGateway 5xx ApiId=<Api> Sum notBreaching",
		"StaleConnectorsAlarm": "CloudSession StaleConnectors Deployment=" + t.parameters["Prefix"] + " Maximum breaching",
		"SyncLagAlarm":         "CloudSession SyncLag Deployment=" + t.parameters["Prefix"] + " Maximum breaching",

		"SessionsWithoutOwnerAlarm": "CloudSession SessionsWithoutOwner Deployment=" + t.parameters["Prefix"] + " Maximum breaching",
	}
	return want
}

// slow are the alarms on how long functions take: those that wait for a
// connector by their median, the others by their slowest hundredth. The watcher
// has none: nobody waits for it, and one that is ended is missed.
func (t *template) slow(called programs) map[string]string {
	want := map[string]string{}
	for folder, function := range t.functions() {
		if folder == watcher {
			continue
		}
		statistic := "p99"
		if len(called[folder]) > 0 {
			statistic = "p50"
		}
		want[function+"Slow"] = "AWS/Lambda Duration FunctionName=<" + function + "> " + statistic + " notBreaching"
	}
	return want
}

// checkAlarms: everything that is to be watched is, each alarm goes to the topic
// if there is one, and none is out of reach of what it watches.
func checkAlarms(t *template, called programs) (problems []string) {
	want := t.alarms()
	maps.Copy(want, t.slow(called))
	for name := range t.resources("AWS::CloudWatch::Alarm") {
		p := t.properties(name)
		dimension := p["Dimensions"].([]any)[0].(object)
		statistic := p["Statistic"]
		if statistic == nil {
			statistic = p["ExtendedStatistic"]
		}
		// Anything else leaves out spans of fewer than 1,000 calls, which are most, or all.
		if low := p["EvaluateLowSampleCountPercentile"]; low != nil && low != "evaluate" {
			problems = append(problems, fmt.Sprintf("alarm %s: few calls are not looked at: %v", name, low))
		}
		got := fmt.Sprintf("%v %v %v=%v %v %v", p["Namespace"], p["MetricName"], dimension["Name"], dimension["Value"], statistic, p["TreatMissingData"])
		if got != want[name] {
			problems = append(problems, fmt.Sprintf("alarm %s is on %q, want %q", name, got, want[name]))
		}
		delete(want, name)
		var topic []string
		if arn := t.parameters["AlarmTopicArn"]; arn != "" {
			topic = []string{arn}
		}
		if !slices.Equal(texts(p["AlarmActions"]), topic) || !slices.Equal(texts(p["OKActions"]), topic) {
			problems = append(problems, fmt.Sprintf("alarm %s goes to %v and %v", name, p["AlarmActions"], p["OKActions"]))
		}
	}
	for name := range want {
		problems = append(problems, "no alarm "+name)
	}
	return append(problems, t.checkThresholds(called)...)
}

// checkThresholds: a function is called slow before Lambda ends it, and one
// that waits for connectors before it stops waiting.
func (t *template) checkThresholds(called programs) (problems []string) {
	for folder, function := range t.functions() {
		if at(t.root, "Resources", function+"Slow") == nil {
			continue // said already
		}
		limit, _ := t.properties(function + "Slow")["Threshold"].(int) // ms
		timeout, _ := t.properties(function)["Timeout"].(int)
		if len(called[folder]) > 0 {
			timeout = 20
		}
		if limit < 1000 || limit >= timeout*1000 {
			problems = append(problems, fmt.Sprintf("%s is called slow at %d ms and ended at %d s", function, limit, timeout))
		}
	}
	return problems
}
