// Command watch-connectors is the Lambda function that runs every minute and
// publishes what the alarms on connectors are about. It has no route and no queue.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"cloudsession/functions/config"
	"cloudsession/functions/emf"
	"cloudsession/functions/watch"
	"cloudsession/shared/cloudstore"
)

// configuration is everything this function reads from its environment.
type configuration struct {
	config.Database
	Deployment string `env:"DEPLOYMENT,required,notEmpty"` // whose metrics these are
}

func main() {
	look, err := setup(os.Environ())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lambda.Start(look)
}

func setup(environ []string) (func(context.Context) error, error) {
	var c configuration
	if err := config.Read(&c, environ); err != nil {
		return nil, err
	}
	store, err := cloudstore.Open(c.Store(slog.New(slog.NewJSONHandler(os.Stderr, nil))))
	if err != nil {
		return nil, err
	}
	return watch.New(store, emf.New(os.Stdout, c.Deployment)), nil
}
