package lambdaemu_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"cloudsession/infra/local/leaktest"
)

// TestMain makes this test binary the function too, with the real runtime of
// aws-lambda-go, when it is started with the emulator's environment.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		leaktest.Main(m)
		return
	}
	switch os.Getenv("AWS_LAMBDA_FUNCTION_NAME") {
	case "no-start":
		fmt.Fprintln(os.Stderr, "configuration: nothing is set")
		os.Exit(1)
	case "sleeper":
		time.Sleep(time.Hour) // never asks
	}
	lambda.Start(function)
}

type request struct{ Do, Text string }

var served int // by this process

func function(ctx context.Context, r request) (map[string]string, error) {
	served++
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	switch r.Do {
	case "fail":
		return nil, errors.New(r.Text)
	case "panic":
		panic(r.Text)
	case "exit":
		os.Exit(7)
	case "hang":
		<-time.After(time.Hour)
	case "wait":
		if _, err := fmt.Fprintln(os.Stderr, "waiting"); err != nil {
			return nil, err
		}
		for {
			if _, err := os.Stat(r.Text); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	case "large":
		return map[string]string{"text": strings.Repeat("x", 6<<20)}, nil
	}
	return map[string]string{
		"text": r.Text, "pid": fmt.Sprint(os.Getpid()), "served": fmt.Sprint(served),
		"environment": strings.Join(os.Environ(), " "), "id": lc.AwsRequestID,
		"left": fmt.Sprint(time.Until(deadline) > time.Millisecond),
	}, nil
}
