// Package lambdahttp runs an http.Handler as a Lambda function behind an HTTP
// API of Amazon API Gateway, payload format 2.0.
package lambdahttp

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"
)

// Handler is a Lambda handler.
type Handler func(context.Context, events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error)

// New makes a Lambda handler of h. An event that cannot be a request is
// answered 400; the handler never returns an error, which the gateway would
// turn into a bare 500.
func New(h http.Handler) Handler {
	adapter := httpadapter.NewV2(h)
	return func(ctx context.Context, e events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		if prepare(&e) != nil {
			return badRequest(e), nil
		}
		res, err := adapter.ProxyWithContext(ctx, e)
		if err != nil {
			return badRequest(e), nil //nolint:nilerr // the adapter has logged it, and only a broken event gets here
		}
		return res, nil
	}
}

func badRequest(e events.APIGatewayV2HTTPRequest) events.APIGatewayV2HTTPResponse {
	return events.APIGatewayV2HTTPResponse{
		StatusCode: http.StatusBadRequest,
		Headers: map[string]string{
			"Content-Type":           "application/json; charset=utf-8",
			"Cache-Control":          "no-store",
			"X-Content-Type-Options": "nosniff",
			"X-Request-Id":           e.RequestContext.RequestID,
		},
		Body: `{"error":"The request is malformed","code":"invalid_request"}`,
	}
}

// Main sets up a function and serves it until the process is ended. If setup
// fails the reason goes to the standard error stream, and the exit code is 1.
func Main(setup func(environ []string) (http.Handler, error)) {
	h, err := setup(os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lambda.Start(New(h))
}
