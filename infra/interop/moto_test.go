//go:build interop

package interop

import (
	"regexp"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cloudsession/infra/local/sqsconformance"
	"cloudsession/shared/command"
)

// moto starts an SQS written by others and returns its address.
func moto(t *testing.T) string {
	t.Helper()
	python := need(t, "python3", "any Python 3.10 or later")
	needModule(t, python, "moto.server", "make interop installs it")
	return startServer(t, regexp.MustCompile(`Running on (http://127\.0\.0\.1:[1-9][0-9]*)`), python, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0")
}

// TestMoto runs the suite the emulator passes against an independent
// implementation, so that neither is only agreed with itself.
func TestMoto(t *testing.T) {
	url := moto(t)
	sqsconformance.Run(t, sqsconformance.Target{
		Client: sqs.New(sqs.Options{
			Region: "us-east-1", BaseEndpoint: &url,
			Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
		}),
		Known: sqsconformance.Known{
			NoWakeOnDelete: true, DuplicateGetsNewID: true, DuplicateAfterDelete: true, NoAttemptID: true,
			OldReceiptDeletes: true, NoKeyCheck: true, NoAttributeCheck: true,
			NameFreeAtOnce: true,
		},
	})
}

// TestMotoQueue runs the suite of command.Queue against it.
func TestMotoQueue(t *testing.T) {
	q, err := command.NewSQS(command.SQSConfig{Endpoint: moto(t)})
	if err != nil {
		t.Fatal(err)
	}
	sqsconformance.RunQueue(t, q)
}
