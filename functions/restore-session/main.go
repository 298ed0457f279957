// Command restore-session is the Lambda function of POST /cloud/sessions/{sessionId}/restore.
package main

import (
	"net/http"
	"os"

	"cloudsession/functions/api"
	"cloudsession/functions/config"
	"cloudsession/functions/emf"
	"cloudsession/functions/lambdahttp"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// configuration is everything this function reads from its environment.
type configuration struct {
	config.Database
	config.Tokens
	config.Queue
	config.Metrics
	config.Logging
}

func main() { lambdahttp.Main(setup) }

func setup(environ []string) (http.Handler, error) {
	var c configuration
	if err := config.Read(&c, environ); err != nil {
		return nil, err
	}
	auth, err := api.NewAuth(c.Auth())
	if err != nil {
		return nil, err
	}
	store, err := cloudstore.Open(c.Store(c.Logger(os.Stderr)))
	if err != nil {
		return nil, err
	}
	queue, err := command.NewSQS(c.SQS())
	if err != nil {
		return nil, err
	}
	return api.New(api.Options{
		Only: "restore-session", Sessions: store, Commands: store, Queue: queue,
		Auth: auth, Metrics: emf.New(os.Stdout, c.Deployment), Log: c.Logger(os.Stderr), Wait: c.Wait,
	})
}
