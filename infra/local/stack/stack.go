// Package stack runs the whole system on one machine with real processes: the
// TiDB engine, an SQS emulator, the Lambda bootstraps behind a local API
// gateway, and any number of connectors. `make run`, the demo and the
// end-to-end tests are built on it.
package stack

import (
	"context"
	"errors"
	"io"

	"cloudsession/shared/cloudstore"
)

// Options says where and how a Stack runs. The zero value plus Dir is usable.
type Options struct {
	// Dir holds everything that is kept: the database, secrets, connectors'
	// folders. It is made (0700) when missing. One Stack at a time uses a folder.
	Dir string
	// APIAddr is the gateway's address. Default 127.0.0.1:0, a free port.
	APIAddr string
	// Out gets progress and every process's log. Default: nowhere.
	Out io.Writer
	// Getenv is the environment that TIDB_HOST, AWS_ENDPOINT_URL_SQS and their
	// companions are taken from. Default: none of it, everything local.
	Getenv func(string) string
}

// Stack is the running system without connectors; see StartConnector.
type Stack struct{}

// Start builds what is not built yet and starts everything but connectors.
// When it returns, the API answers.
func Start(ctx context.Context, o Options) (*Stack, error) { return nil, errors.New("not written") }

// APIURL is the gateway's address, http://host:port.
func (s *Stack) APIURL() string { return "" }

// SQSEndpoint is the queue service's address, for AWS_ENDPOINT_URL_SQS.
func (s *Stack) SQSEndpoint() string { return "" }

// StoreConfig says how to reach the database.
func (s *Stack) StoreConfig() cloudstore.Config { return cloudstore.Config{} }

// Token mints a bearer token good for an hour, with the given scopes; none means all.
func (s *Stack) Token(scopes ...string) (string, error) { return "", errors.New("not written") }

// Close stops connectors, functions, queue and database in that order, and
// waits for them. Data stays.
func (s *Stack) Close() error { return nil }
