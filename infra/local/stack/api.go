package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"time"

	"cloudsession/infra/local/gateway"
	"cloudsession/infra/local/lambdaemu"
	"cloudsession/infra/local/sqsemu"
	"cloudsession/shared/command"
)

// deadLetters is the emulator's stand-in for the template's dead-letter queue.
const deadLetters = "cloudsession-dead.fifo"

// startQueue starts the SQS emulator, or takes the service that
// AWS_ENDPOINT_URL_SQS names, and settles what all processes are told.
func (s *Stack) startQueue(ctx context.Context) error {
	passed := s.pass("AWS_ENDPOINT_URL_SQS", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
		"AWS_SESSION_TOKEN", "QUEUE_DEAD_LETTER_ARN", "LOG_LEVEL", "LOG_FORMAT", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
	s.shared = environment{"LOG_FORMAT": "text"}.merge(s.db.environment(), passed)
	if passed["AWS_ENDPOINT_URL_SQS"] != "" {
		return nil
	}
	s.queue = new(sqsemu.Server)
	if _, err := s.queue.Listen(ctx, "127.0.0.1:0"); err != nil {
		s.queue = nil
		return err
	}
	q, err := command.NewSQS(command.SQSConfig{Endpoint: s.queue.URL()})
	if err != nil {
		return err
	}
	if _, err := q.Create(ctx, deadLetters); err != nil {
		return fmt.Errorf("make the dead-letter queue: %w", err)
	}
	// The emulator looks at no key, but somebody's real ones have no place here.
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"} {
		delete(s.shared, name)
	}
	s.shared["AWS_ENDPOINT_URL_SQS"], s.shared["AWS_REGION"] = s.queue.URL(), "us-east-1"
	s.shared["QUEUE_DEAD_LETTER_ARN"] = sqsemu.ARN(deadLetters)
	return nil
}

// functionEnv is the functions' whole configuration: the secret that opens
// sessions is not part of it.
func (s *Stack) functionEnv() environment {
	passed := s.pass("JWT_JWKS_URL", "JWT_ISSUER", "JWT_AUDIENCE", "COMMAND_WAIT", "DEPLOYMENT")
	if passed["JWT_JWKS_URL"] == "" {
		passed[jwtSecret] = s.secrets[jwtSecret]
	}
	return s.shared.merge(passed)
}

func (s *Stack) startAPI(context.Context) error {
	routes, err := gateway.ReadTemplate(filepath.Join(s.root, "template.yaml"))
	if err != nil {
		return err
	}
	o := lambdaemu.Options{Out: s.out, InitTimeout: 2 * time.Minute} // seven start at once, beside everything else
	env := append(s.functionEnv().list(), s.options.FunctionEnv...)
	for _, r := range functions(routes) {
		f := lambdaemu.Function{Name: r.Function, Binary: bootstrap(s.root, r.Function), Env: env, Timeout: r.Timeout}
		if err := built(f.Binary); err != nil {
			return err
		}
		o.Functions = append(o.Functions, f)
	}
	if s.host, err = lambdaemu.New(o); err != nil {
		return err
	}
	api := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: gateway.New(gateway.Options{
		Routes: routes, Log: s.logger().With("part", "gateway"),
		Invoke: func(ctx context.Context, function string, event []byte) ([]byte, error) {
			r, err := s.host.Invoke(ctx, function, event)
			return r.Payload, err
		},
	})}
	s.api = api
	s.served.Go(func() {
		if err := api.Serve(s.socket); !errors.Is(err, http.ErrServerClosed) {
			panic("serve the API: " + err.Error()) // the listener is ours alone
		}
	})
	return nil
}

// listen takes the API's port first of all: that it is another's is known at once.
func (s *Stack) listen(ctx context.Context) (err error) {
	addr := cmp.Or(s.options.APIAddr, "127.0.0.1:0")
	s.socket, err = new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("another program listens on %s: stop it, or choose another port with PORT", addr)
	} else if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	return nil
}

// answerTime is how long the API may take to answer well for the first time: a busy
// machine's functions and database start slowly.
const answerTime = 2 * time.Minute

// checkAPI asks for the list of sessions, again while that fails on our side:
// gateway, a function and the database answer, or the stack is not started.
func (s *Stack) checkAPI(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	for {
		again, err := s.askAPI(ctx)
		if !again {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// askAPI asks once. again says that a later answer may be better than the error.
func (s *Stack) askAPI(ctx context.Context) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.APIURL()+"/cloud/sessions?limit=1", http.NoBody)
	if err != nil {
		return false, fmt.Errorf("ask the API: %w", err)
	}
	want := http.StatusUnauthorized // all that can be had without a token
	if token, err := s.Token(); err == nil {
		req.Header.Set("Authorization", "Bearer "+token)
		want = http.StatusOK
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, fmt.Errorf("ask the API: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // only for the error's text
		err = fmt.Errorf("ask the API for sessions: %s %s\n%s", resp.Status, text, s.out.String())
		return resp.StatusCode >= http.StatusInternalServerError, err
	}
	return false, nil
}
