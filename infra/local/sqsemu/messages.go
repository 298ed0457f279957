package sqsemu

import (
	"context"
	"crypto/md5" //nolint:gosec // the protocol's checksum, not a safeguard
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

type (
	sendEntry struct{ Id, MessageBody, MessageGroupId, MessageDeduplicationId string }
	sendInput struct {
		queueRef
		sendEntry
	}
	sendBatchInput struct {
		queueRef
		Entries []sendEntry
	}
	receiveInput struct {
		queueRef
		AttributeNames, MessageSystemAttributeNames []string
		MaxNumberOfMessages                         *int
		VisibilityTimeout, WaitTimeSeconds          *int
		ReceiveRequestAttemptId                     string
	}
	receiptInput struct {
		queueRef
		ReceiptHandle string
	}
	deleteEntry      struct{ Id, ReceiptHandle string }
	deleteBatchInput struct {
		queueRef
		Entries []deleteEntry
	}
	visibilityInput struct {
		receiptInput
		VisibilityTimeout *int
	}
	sendResult struct {
		Id                                          string `json:",omitempty"`
		MessageId, MD5OfMessageBody, SequenceNumber string
	}
	batchFailure struct {
		Id, Code, Message string
		SenderFault       bool
	}
	messageOut struct {
		MessageId, ReceiptHandle, Body, MD5OfBody string
		Attributes                                map[string]string `json:",omitempty"`
	}
)

func (s *Server) sendMessage(_ context.Context, _ string, in sendInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(in.queueRef)
	if err != nil {
		return nil, err
	}
	return s.send(q, in.sendEntry, time.Now())
}

func (s *Server) send(q *queue, e sendEntry, now time.Time) (*sendResult, *apiError) {
	s.tidy(q, now)
	if e.MessageDeduplicationId == "" && q.settings.contentDedup {
		sum := sha256.Sum256([]byte(e.MessageBody))
		e.MessageDeduplicationId = hex.EncodeToString(sum[:])
	}
	switch {
	case e.MessageBody == "" || len(e.MessageBody) > q.settings.maxBytes:
		return nil, fail("InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be between 1 and %d bytes.", q.settings.maxBytes)
	case e.MessageGroupId == "":
		return nil, fail("MissingParameter", "The request must contain the parameter MessageGroupId.")
	case e.MessageDeduplicationId == "":
		return nil, fail("InvalidParameterValue", "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
	case !isMessageKey(e.MessageGroupId) || !isMessageKey(e.MessageDeduplicationId):
		return nil, fail("InvalidParameterValue", "MessageGroupId and MessageDeduplicationId can only include alphanumeric and punctuation characters. 1 to 128 in length.")
	}
	first, repeated := q.sent[e.MessageDeduplicationId]
	m := first.msg
	if !repeated {
		s.seq++
		m = &message{
			id: rand.Text(), body: e.MessageBody, group: e.MessageGroupId, dedup: e.MessageDeduplicationId,
			seq: s.seq, sentAt: now,
		}
		q.messages = append(q.messages, m)
		q.sent[m.dedup] = sent{now, m}
		q.wakeReceivers()
	}
	return &sendResult{Id: e.Id, MessageId: m.id, MD5OfMessageBody: checksum(e.MessageBody), SequenceNumber: fmt.Sprintf("%020d", m.seq)}, nil
}

// isMessageKey: up to 128 letters, digits and ASCII punctuation.
func isMessageKey(s string) bool {
	return len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func checksum(body string) string {
	sum := md5.Sum([]byte(body)) //nolint:gosec // the protocol's checksum, not a safeguard
	return hex.EncodeToString(sum[:])
}

func (s *Server) sendMessageBatch(_ context.Context, _ string, in sendBatchInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return batch(s, in.queueRef, in.Entries, func(e sendEntry) string { return e.Id }, func(q *queue, e sendEntry) (any, *apiError) {
		return s.send(q, e, time.Now())
	})
}

// batch runs one entry after the other; each fails by itself. The caller holds s.mu.
func batch[E any](s *Server, ref queueRef, entries []E, id func(E) string, run func(*queue, E) (any, *apiError)) (any, *apiError) {
	q, err := s.find(ref)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, e := range entries {
		ids[id(e)] = true
	}
	switch {
	case len(entries) == 0:
		return nil, fail("EmptyBatchRequest", "There should be at least one entry in the request.")
	case len(entries) > 10:
		return nil, fail("TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent %d.", len(entries))
	case len(ids) != len(entries):
		return nil, fail("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
	}
	done, failed := []any{}, []batchFailure{}
	for _, e := range entries {
		if out, err := run(q, e); err != nil {
			failed = append(failed, batchFailure{id(e), err.query, err.reason, true})
		} else {
			done = append(done, out)
		}
	}
	return map[string]any{"Successful": done, "Failed": failed}, nil
}

// pick reads an optional number with bounds.
func pick(name string, given *int, standard, low, high int) (int, *apiError) {
	if given == nil {
		return standard, nil
	}
	if *given < low || *given > high {
		return 0, fail("InvalidParameterValue", "Value %d for parameter %s is invalid. Reason: Must be between %d and %d, if provided.", *given, name, low, high)
	}
	return *given, nil
}

func (s *Server) receiveMessage(ctx context.Context, _ string, in receiveInput) (any, *apiError) {
	limit, err := pick("MaxNumberOfMessages", in.MaxNumberOfMessages, 1, 1, 10)
	if err != nil {
		return nil, err
	}
	wait, err := pick("WaitTimeSeconds", in.WaitTimeSeconds, -1, 0, 20)
	if err != nil {
		return nil, err
	}
	visibility, err := pick("VisibilityTimeout", in.VisibilityTimeout, -1, 0, 43200)
	if err != nil {
		return nil, err
	}
	taken, err := s.poll(ctx, in, limit, seconds(wait), seconds(visibility))
	if err != nil {
		return nil, err
	}
	names := slices.Concat(in.AttributeNames, in.MessageSystemAttributeNames)
	for i := range taken {
		if !slices.Contains(names, "All") {
			maps.DeleteFunc(taken[i].Attributes, func(name, _ string) bool { return !slices.Contains(names, name) })
		}
	}
	return map[string]any{"Messages": taken}, nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// poll waits for messages: at most wait, or the queue's own time if that is
// negative; visibility likewise. It looks again whenever something may have changed.
func (s *Server) poll(ctx context.Context, in receiveInput, limit int, wait, visibility time.Duration) ([]messageOut, *apiError) {
	began := time.Now()
	for {
		s.mu.Lock()
		q, err := s.find(in.queueRef)
		if err != nil {
			s.mu.Unlock()
			return nil, err
		}
		if wait < 0 {
			wait = q.settings.wait
		}
		if visibility < 0 {
			visibility = q.settings.visibility
		}
		now := time.Now()
		s.tidy(q, now)
		taken := q.again(in.ReceiveRequestAttemptId, visibility, now)
		if taken == nil {
			taken = s.take(q, limit, visibility, now)
			q.remember(in.ReceiveRequestAttemptId, taken, now)
		}
		out := describe(taken)
		wake, next := q.wake, q.nextVisible(now)
		s.mu.Unlock()

		left := began.Add(wait).Sub(now)
		if len(out) > 0 || left <= 0 {
			return out, nil
		}
		if back := next.Sub(now); !next.IsZero() && back < left {
			left = back
		}
		if !sleep(ctx, left, wake) {
			return nil, nil
		}
	}
}

// sleep waits for d or wake; false says that the caller is gone.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
		return false
	}
	return true
}

func describe(taken []*message) []messageOut {
	out := make([]messageOut, 0, len(taken))
	for _, m := range taken {
		out = append(out, messageOut{
			MessageId: m.id, ReceiptHandle: m.receipt, Body: m.body, MD5OfBody: checksum(m.body),
			Attributes: map[string]string{
				"ApproximateReceiveCount":          strconv.Itoa(m.receives),
				"ApproximateFirstReceiveTimestamp": strconv.FormatInt(m.firstReceived.UnixMilli(), 10),
				"SentTimestamp":                    strconv.FormatInt(m.sentAt.UnixMilli(), 10),
				"MessageGroupId":                   m.group,
				"MessageDeduplicationId":           m.dedup,
				"SequenceNumber":                   fmt.Sprintf("%020d", m.seq),
				"SenderId":                         account,
			},
		})
	}
	return out
}

// A receipt names the message and the receive it stands for.
func (s *Server) newReceipt(m *message) string {
	s.seq++
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "receipt/%s/%d", m.id, s.seq))
}

// received finds the message a receipt stands for: its index, or -1 when it was
// deleted before. The receipt must be the latest and still run.
func (q *queue) received(receipt string, now time.Time) (int, *apiError) {
	raw, err := base64.StdEncoding.DecodeString(receipt)
	parts := strings.Split(string(raw), "/")
	if err != nil || len(parts) != 3 || parts[0] != "receipt" {
		return 0, fail("ReceiptHandleIsInvalid", "The input receipt handle %q is not a valid receipt handle.", receipt)
	}
	i := slices.IndexFunc(q.messages, func(m *message) bool { return m.id == parts[1] })
	if i >= 0 && (q.messages[i].receipt != receipt || !q.messages[i].inFlight(now)) {
		return 0, fail("InvalidParameterValue", "Value %s for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.", receipt)
	}
	return i, nil
}

func (s *Server) deleteMessage(_ context.Context, _ string, in receiptInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(in.queueRef)
	if err != nil {
		return nil, err
	}
	return struct{}{}, q.remove(in.ReceiptHandle, time.Now())
}

func (q *queue) remove(receipt string, now time.Time) *apiError {
	i, err := q.received(receipt, now)
	if err != nil || i < 0 {
		return err // deleting twice is no error
	}
	q.messages = slices.Delete(q.messages, i, i+1)
	q.wakeReceivers() // the next of its group may go
	return nil
}

func (s *Server) deleteMessageBatch(_ context.Context, _ string, in deleteBatchInput) (any, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return batch(s, in.queueRef, in.Entries, func(e deleteEntry) string { return e.Id }, func(q *queue, e deleteEntry) (any, *apiError) {
		return map[string]string{"Id": e.Id}, q.remove(e.ReceiptHandle, time.Now())
	})
}

func (s *Server) changeMessageVisibility(_ context.Context, _ string, in visibilityInput) (any, *apiError) {
	if in.VisibilityTimeout == nil {
		return nil, fail("MissingParameter", "The request must contain the parameter VisibilityTimeout.")
	}
	timeout, err := pick("VisibilityTimeout", in.VisibilityTimeout, 0, 0, 43200)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(in.queueRef)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	i, err := q.received(in.ReceiptHandle, now)
	if err != nil {
		return nil, err
	}
	if i < 0 {
		return nil, fail("InvalidParameterValue", "Value %s for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.", in.ReceiptHandle)
	}
	q.messages[i].hiddenUntil = now.Add(seconds(timeout))
	q.wakeReceivers() // it may be visible again, or for longer
	return struct{}{}, nil
}
