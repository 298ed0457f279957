package lambdaemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"cloudsession/infra/local/childproc"
)

// maxResponse is Lambda's limit for a response, in bytes.
const maxResponse = 6 << 20

// An instance is one bootstrap process and the Runtime API that only it uses.
type instance struct {
	function Function
	proc     *childproc.Proc
	server   *http.Server
	served   sync.WaitGroup
	started  time.Time
	asked    chan struct{}    // holds a token while the process waits for an event
	events   chan *invocation // to the process
	failed   chan *FunctionError

	mu      sync.Mutex
	current *invocation
}

type invocation struct {
	id       string
	event    []byte
	deadline time.Time
	done     chan answer // buffered, gets exactly one
}

type answer struct {
	payload []byte
	err     error
}

func startInstance(h *Host, f Function) (*instance, error) {
	l, err := new(net.ListenConfig).Listen(h.base, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the Runtime API: %w", err)
	}
	in := &instance{
		function: f, asked: make(chan struct{}, 1),
		events: make(chan *invocation), failed: make(chan *FunctionError, 1),
	}
	in.server = &http.Server{Handler: in.routes(), ReadHeaderTimeout: 10 * time.Second}
	in.served.Go(func() {
		if err := in.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			panic("serve the Runtime API: " + err.Error()) // the listener is ours alone
		}
	})
	in.started = time.Now()
	in.proc, err = childproc.Start(childproc.Config{
		Path: f.Binary, Dir: filepath.Dir(f.Binary), Env: append(environment(f, l.Addr().String()), f.Env...), Out: h.options.Out,
	})
	if err != nil {
		_ = in.server.Close()
		in.served.Wait()
		return nil, fmt.Errorf("start function %s: %w", f.Name, err)
	}
	return in, nil
}

// environment is what Lambda itself sets, as far as functions look at it.
func environment(f Function, api string) []string {
	return []string{
		"AWS_LAMBDA_RUNTIME_API=" + api,
		"AWS_LAMBDA_FUNCTION_NAME=" + f.Name,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"LAMBDA_TASK_ROOT=" + filepath.Dir(f.Binary),
		"_HANDLER=bootstrap",
		"TZ=:UTC",
	}
}

func (in *instance) ended() bool {
	select {
	case <-in.proc.Done():
		return true
	default:
		return false
	}
}

// close kills the process and waits for everything of it.
func (in *instance) close() {
	in.proc.Kill()
	_ = in.server.Close() // connections of a killed process
	in.served.Wait()
}

// invoke gives the process one event and waits for its answer. If it gets none
// the process is killed.
func (in *instance) invoke(h *Host, event []byte, cold bool) (result Result, err error) {
	init := time.NewTimer(h.options.InitTimeout)
	defer init.Stop()
	select {
	case <-in.asked:
	case err := <-in.failed:
		return Result{}, err
	case <-in.proc.Done():
		return Result{}, in.exitError()
	case <-init.C:
		in.proc.Kill()
		return Result{}, &FunctionError{"Runtime.InitError", fmt.Sprintf("no question for an event within %v", h.options.InitTimeout)}
	case <-h.base.Done():
		return Result{}, errClosed
	}
	if cold {
		result.Init = time.Since(in.started)
	}
	began := time.Now()
	inv := &invocation{id: ulid.Make().String(), event: event, deadline: began.Add(in.function.Timeout), done: make(chan answer, 1)}
	in.mu.Lock()
	in.current = inv
	in.mu.Unlock()
	answered, err := in.exchange(h, inv)
	result.Payload, result.Duration = answered, time.Since(began)
	return result, err
}

// exchange hands inv over and waits for its answer.
func (in *instance) exchange(h *Host, inv *invocation) ([]byte, error) {
	timeout := time.NewTimer(in.function.Timeout)
	defer timeout.Stop()
	events := in.events
	for {
		select {
		case events <- inv:
			events = nil // once only
		case a := <-inv.done:
			return a.payload, a.err
		case <-in.proc.Done():
			select {
			case a := <-inv.done: // it answered and ended
				return a.payload, a.err
			default:
				return nil, in.exitError()
			}
		case <-timeout.C:
			in.proc.Kill()
			return nil, &FunctionError{"Sandbox.Timedout", fmt.Sprintf("Task timed out after %.2f seconds", in.function.Timeout.Seconds())}
		case <-h.base.Done():
			return nil, errClosed
		}
	}
}

func (in *instance) exitError() error {
	// A process that reports an error of its start ends right after.
	select {
	case err := <-in.failed:
		return err
	default:
	}
	how := "exit status 0"
	if err := in.proc.Err(); err != nil {
		how = err.Error()
	}
	return &FunctionError{"Runtime.ExitError", "function " + in.function.Name + " ended: " + how}
}

// routes is the Runtime API.
func (in *instance) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", in.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", in.answer(func(body []byte) answer {
		return answer{payload: body}
	}))
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", in.answer(func(body []byte) answer {
		return answer{err: functionError(body)}
	}))
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, maxResponse)) // what arrived is all there is to say
		select {
		case in.failed <- functionError(body):
		default: // it has said so before
		}
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

func (in *instance) next(w http.ResponseWriter, r *http.Request) {
	select {
	case in.asked <- struct{}{}:
	default: // it has asked before and its connection broke
	}
	select {
	case inv := <-in.events:
		header := w.Header()
		header.Set("Content-Type", "application/json")
		header.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		header.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		header.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:"+in.function.Name)
		_, _ = w.Write(inv.event) // a process that is gone is noticed by its end
	case <-r.Context().Done(): // the process is gone
	}
}

// answer accepts the end of the current invocation.
func (in *instance) answer(read func(body []byte) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxResponse+1))
		if err != nil {
			return // the process died while it answered
		}
		in.mu.Lock()
		inv := in.current
		ours := inv != nil && inv.id == r.PathValue("id")
		if ours {
			in.current = nil
		}
		in.mu.Unlock()
		switch {
		case !ours:
			http.Error(w, `{"errorType":"InvalidRequestID","errorMessage":"Invalid request ID"}`, http.StatusBadRequest)
		case len(body) > maxResponse:
			inv.done <- answer{err: &FunctionError{"Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (6291556 bytes)."}}
			http.Error(w, `{"errorType":"RequestEntityTooLarge","errorMessage":"Exceeded maximum allowed payload size"}`, http.StatusRequestEntityTooLarge)
		default:
			inv.done <- read(body)
			w.WriteHeader(http.StatusAccepted)
		}
	}
}

func functionError(body []byte) *FunctionError {
	var e struct{ ErrorType, ErrorMessage string }
	if err := json.Unmarshal(body, &e); err != nil {
		e.ErrorType, e.ErrorMessage = "Runtime.UnknownError", "the function reported an error that is not JSON"
	}
	return &FunctionError{e.ErrorType, e.ErrorMessage}
}
