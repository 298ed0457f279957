// Command command-status is the Lambda function of GET /cloud/commands/{commandId}.
package main

import (
	"net/http"
	"os"

	"cloudsession/functions/api"
	"cloudsession/functions/config"
	"cloudsession/functions/emf"
	"cloudsession/functions/lambdahttp"
	"cloudsession/shared/cloudstore"
)

// configuration is everything this function reads from its environment.
type configuration struct {
	config.Database
	config.Tokens
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
	return api.New(api.Options{
		Only: "command-status", Commands: store,
		Auth: auth, Metrics: emf.New(os.Stdout, c.Deployment), Log: c.Logger(os.Stderr),
	})
}
