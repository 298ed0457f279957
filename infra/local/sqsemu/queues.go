package sqsemu

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

type (
	queueRef struct {
		QueueUrl string
	}
	createQueueInput struct {
		QueueName  string
		Attributes map[string]string
	}
	getQueueURLInput struct{ QueueName, QueueOwnerAWSAccountId string }
	attributesInput  struct {
		queueRef
		AttributeNames []string
	}
	setAttributesInput struct {
		queueRef
		Attributes map[string]string
	}
	listQueuesInput struct {
		QueueNamePrefix string
		MaxResults      int
	}
)

func queueURL(host, name string) queueRef {
	return queueRef{"http://" + host + "/" + account + "/" + name}
}

// find looks a queue up by its address. The caller holds s.mu.
func (s *Server) find(ref queueRef) (*queue, *apiError) {
	if q := s.queues[ref.QueueUrl[strings.LastIndexByte(ref.QueueUrl, '/')+1:]]; q != nil {
		return q, nil
	}
	return nil, errNoQueue()
}

func (s *Server) createQueue(_ context.Context, host string, in createQueueInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	base, fifo := strings.CutSuffix(in.QueueName, ".fifo")
	notAllowed := func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	if base == "" || len(in.QueueName) > 80 || strings.ContainsFunc(base, notAllowed) || fifo != (in.Attributes["FifoQueue"] == "true") {
		return nil, fail("InvalidParameterValue", "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length")
	}
	wanted := defaultSettings()
	if err := wanted.apply(in.Attributes, s.queues); err != nil {
		return nil, err
	}
	if q := s.queues[in.QueueName]; q != nil {
		have := q.settings.report()
		for name := range in.Attributes {
			if have[name] != wanted.report()[name] {
				e := fail("QueueNameExists", "A queue already exists with the same name and a different value for attribute %s", name)
				e.query = "QueueAlreadyExists"
				return nil, e
			}
		}
		return queueURL(host, in.QueueName), nil
	}
	if at, ok := s.deleted[in.QueueName]; ok && time.Since(at) < cmp.Or(s.nameTaken, defaultNameTaken) {
		return nil, errDeletedRecently()
	}
	if s.queues == nil {
		s.queues, s.deleted = map[string]*queue{}, map[string]time.Time{}
	}
	s.queues[in.QueueName] = newQueue(in.QueueName, wanted)
	return queueURL(host, in.QueueName), nil
}

func (s *Server) getQueueURL(_ context.Context, host string, in getQueueURLInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queues[in.QueueName] == nil {
		return nil, errNoQueue()
	}
	return queueURL(host, in.QueueName), nil
}

func (s *Server) getQueueAttributes(_ context.Context, _ string, in attributesInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(in.queueRef)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	s.tidy(q, now)
	visible, hidden := q.count(now)
	all := q.settings.report()
	all["QueueArn"] = ARN(q.name)
	all["CreatedTimestamp"] = strconv.FormatInt(q.created.Unix(), 10)
	all["LastModifiedTimestamp"] = strconv.FormatInt(q.modified.Unix(), 10)
	all["ApproximateNumberOfMessages"] = strconv.Itoa(visible)
	all["ApproximateNumberOfMessagesNotVisible"] = strconv.Itoa(hidden)
	all["ApproximateNumberOfMessagesDelayed"] = "0"
	if !slices.Contains(in.AttributeNames, "All") {
		maps.DeleteFunc(all, func(name, _ string) bool { return !slices.Contains(in.AttributeNames, name) })
	}
	return map[string]any{"Attributes": all}, nil
}

func (s *Server) setQueueAttributes(_ context.Context, _ string, in setAttributesInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(in.queueRef)
	if err != nil {
		return nil, err
	}
	if _, ok := in.Attributes["FifoQueue"]; ok {
		return nil, fail("InvalidAttributeName", "Unknown Attribute FifoQueue.")
	}
	if err := q.settings.apply(in.Attributes, s.queues); err != nil {
		return nil, err
	}
	q.modified = time.Now()
	return struct{}{}, nil
}

func (s *Server) listQueues(_ context.Context, host string, in listQueuesInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	urls := []string{}
	for _, name := range slices.Sorted(maps.Keys(s.queues)) {
		if strings.HasPrefix(name, in.QueueNamePrefix) && len(urls) < 1000 {
			urls = append(urls, queueURL(host, name).QueueUrl)
		}
	}
	return map[string]any{"QueueUrls": urls}, nil
}

func (s *Server) deleteQueue(_ context.Context, _ string, in queueRef) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(in)
	if err != nil {
		return nil, err
	}
	delete(s.queues, q.name)
	s.deleted[q.name] = time.Now()
	q.wakeReceivers() // they find the queue gone
	return struct{}{}, nil
}

func (s *Server) purgeQueue(_ context.Context, _ string, in queueRef) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(in)
	if err != nil {
		return nil, err
	}
	q.messages = nil
	return struct{}{}, nil
}
