package sqsemu

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// The JSON protocol: POST with the operation in X-Amz-Target, bodies as in
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html.
const (
	targetPrefix = "AmazonSQS."
	contentType  = "application/x-amz-json-1.0"
	maxRequest   = 2 << 20 // bytes; ten messages of a batch may not exceed 1 MiB together
)

// An apiError is an answer the SDK turns into a typed error: type is the
// shape's name, query the code of the older protocol, which SDKs report.
type apiError struct {
	status               int
	shape, query, reason string
}

func (e *apiError) Error() string { return e.shape + ": " + e.reason }

func fail(shape, format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, shape: shape, query: shape, reason: fmt.Sprintf(format, args...)}
}

func errNoQueue() *apiError {
	e := fail("QueueDoesNotExist", "The specified queue does not exist.")
	e.query = "AWS.SimpleQueueService.NonExistentQueue"
	return e
}

func errDeletedRecently() *apiError {
	e := fail("QueueDeletedRecently", "You must wait 60 seconds after deleting a queue before you can create another with the same name.")
	e.query = "AWS.SimpleQueueService.QueueDeletedRecently"
	return e
}

type operation func(s *Server, ctx context.Context, c call) (any, *apiError)

// A call is one request: its body and the address the caller knows us by.
type call struct {
	body []byte
	host string
}

// op makes an operation of a function with a typed input; unknown fields are
// refused, so that nothing is accepted that is not emulated.
func op[In any](f func(s *Server, ctx context.Context, host string, in In) (any, *apiError)) operation {
	return func(s *Server, ctx context.Context, c call) (any, *apiError) {
		var in In
		d := json.NewDecoder(strings.NewReader(string(c.body)))
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			return nil, fail("UnsupportedOperation", "this emulator does not take that input: %v", err)
		}
		return f(s, ctx, c.host, in)
	}
}

var operations = map[string]operation{
	"CreateQueue":             op((*Server).createQueue),
	"GetQueueUrl":             op((*Server).getQueueURL),
	"GetQueueAttributes":      op((*Server).getQueueAttributes),
	"SetQueueAttributes":      op((*Server).setQueueAttributes),
	"ListQueues":              op((*Server).listQueues),
	"DeleteQueue":             op((*Server).deleteQueue),
	"PurgeQueue":              op((*Server).purgeQueue),
	"SendMessage":             op((*Server).sendMessage),
	"SendMessageBatch":        op((*Server).sendMessageBatch),
	"ReceiveMessage":          op((*Server).receiveMessage),
	"DeleteMessage":           op((*Server).deleteMessage),
	"DeleteMessageBatch":      op((*Server).deleteMessageBatch),
	"ChangeMessageVisibility": op((*Server).changeMessageVisibility),
}

// ServeHTTP answers one call of the SDK.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, known := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	run, ok := operations[name]
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	switch {
	case err != nil:
		return // the caller is gone
	case r.Method != http.MethodPost || !known || !ok:
		writeError(w, fail("InvalidAction", "The action %s is not valid for this endpoint.", name))
		return
	case len(body) > maxRequest:
		writeError(w, fail("InvalidParameterValue", "The request is too large."))
		return
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential="):
		writeError(w, &apiError{http.StatusForbidden, "MissingAuthenticationToken", "MissingAuthenticationToken", "Request is missing Authentication Token"})
		return
	}
	fault := s.faultFor(name)
	if fault == Refuse {
		writeError(w, &apiError{http.StatusServiceUnavailable, "ServiceUnavailable", "ServiceUnavailable", "refused by a test"})
		return
	}
	out, failed := run(s, r.Context(), call{body, r.Host})
	switch {
	case fault == LoseAnswer:
		panic(http.ErrAbortHandler) // cuts the connection, says nothing in the log
	case failed != nil:
		writeError(w, failed)
	default:
		w.Header().Set("Content-Type", contentType)
		_ = json.NewEncoder(w).Encode(out) // a caller that is gone gets no answer, as with SQS
	}
}

func writeError(w http.ResponseWriter, e *apiError) {
	fault := "Sender"
	if e.status >= 500 {
		fault = "Receiver"
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Amzn-Query-Error", e.query+";"+fault)
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazonaws.sqs#" + e.shape, "message": e.reason})
}
