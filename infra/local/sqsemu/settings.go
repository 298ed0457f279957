package sqsemu

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"time"
)

const (
	region  = "us-east-1"
	account = "000000000000"
)

// settings are the attributes of a queue that its maker chooses.
type settings struct {
	visibility, retention, wait time.Duration
	maxBytes                    int
	contentDedup                bool
	redrive                     string // RedrivePolicy as given
	deadLetter                  string // name of its target queue
	maxReceives                 int
	inert                       map[string]string // accepted and reported, without effect here
}

func defaultSettings() settings {
	return settings{visibility: 30 * time.Second, retention: 4 * 24 * time.Hour, maxBytes: 1 << 20, inert: map[string]string{}}
}

// apply changes the settings by attributes as CreateQueue and
// SetQueueAttributes take them; s is unchanged when it fails.
func (s *settings) apply(attrs map[string]string, queues map[string]*queue) *apiError {
	next := *s
	next.inert = maps.Clone(s.inert)
	for name, value := range attrs {
		if err := next.set(name, value, queues); err != nil {
			return err
		}
	}
	*s = next
	return nil
}

func (s *settings) set(name, value string, queues map[string]*queue) *apiError {
	invalid := fail("InvalidAttributeValue", "Invalid value for the parameter %s.", name)
	number := func(low, high int) (int, *apiError) {
		n, err := strconv.Atoi(value)
		if err != nil || n < low || n > high {
			return 0, invalid
		}
		return n, nil
	}
	var n int
	var err *apiError
	switch name {
	case "FifoQueue":
		if value != "true" {
			err = fail("UnsupportedOperation", "this emulator has FIFO queues only")
		}
	case "VisibilityTimeout":
		n, err = number(0, 43200)
		s.visibility = time.Duration(n) * time.Second
	case "MessageRetentionPeriod":
		n, err = number(60, 1209600)
		s.retention = time.Duration(n) * time.Second
	case "ReceiveMessageWaitTimeSeconds":
		n, err = number(0, 20)
		s.wait = time.Duration(n) * time.Second
	case "MaximumMessageSize":
		s.maxBytes, err = number(1024, 1<<20)
	case "ContentBasedDeduplication":
		if s.contentDedup = value == "true"; value != "true" && value != "false" {
			err = invalid
		}
	case "RedrivePolicy":
		err = s.setRedrive(value, queues)
	case "DeduplicationScope", "FifoThroughputLimit", "SqsManagedSseEnabled":
		s.inert[name] = value
	default:
		err = fail("InvalidAttributeName", "Unknown Attribute %s.", name)
	}
	return err
}

func (s *settings) setRedrive(value string, queues map[string]*queue) *apiError {
	if value == "" {
		s.redrive, s.deadLetter, s.maxReceives = "", "", 0
		return nil
	}
	var policy struct {
		Target string      `json:"deadLetterTargetArn"`
		Max    json.Number `json:"maxReceiveCount"`
	}
	if err := json.Unmarshal([]byte(value), &policy); err != nil {
		return fail("InvalidParameterValue", "Value %s for parameter RedrivePolicy is invalid. Reason: Redrive policy is not a valid JSON map.", value)
	}
	limit, err := policy.Max.Int64()
	name := policy.Target[strings.LastIndexByte(policy.Target, ':')+1:]
	switch {
	case err != nil || limit < 1 || limit > 1000:
		return fail("InvalidParameterValue", "Value %s for parameter RedrivePolicy is invalid. Reason: Invalid value for maxReceiveCount.", value)
	case queues[name] == nil || policy.Target != ARN(name):
		return fail("InvalidParameterValue", "Value %s for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist.", value)
	}
	s.redrive, s.deadLetter, s.maxReceives = value, name, int(limit)
	return nil
}

// report gives every attribute the settings stand for.
func (s *settings) report() map[string]string {
	all := map[string]string{
		"FifoQueue":                     "true",
		"VisibilityTimeout":             strconv.Itoa(int(s.visibility / time.Second)),
		"MessageRetentionPeriod":        strconv.Itoa(int(s.retention / time.Second)),
		"ReceiveMessageWaitTimeSeconds": strconv.Itoa(int(s.wait / time.Second)),
		"MaximumMessageSize":            strconv.Itoa(s.maxBytes),
		"ContentBasedDeduplication":     strconv.FormatBool(s.contentDedup),
		"DelaySeconds":                  "0",
	}
	if s.redrive != "" {
		all["RedrivePolicy"] = s.redrive
	}
	maps.Copy(all, s.inert)
	return all
}

// ARN is the Amazon resource name of a queue here, as redrive policies want it.
func ARN(name string) string { return "arn:aws:sqs:" + region + ":" + account + ":" + name }
