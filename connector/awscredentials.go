package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"cloudsession/shared/command"
)

const (
	// awsCredentialsFile names a file in the form of ~/.aws/credentials, whose profile
	// "default" is used: the unit puts the keys of machines outside AWS there.
	awsCredentialsFile = "AWS_SHARED_CREDENTIALS_FILE" //nolint:gosec // G101: the name of a variable
	// awsCredential is the credential that is used where no such file is named, if it
	// is there: in a container, where the files are given as they are.
	awsCredential = "AWS_CREDENTIALS"
)

// queue sets up SQS, without touching the network.
func (q Queues) queue(ctx context.Context) (*command.SQS, error) {
	keys, err := awsCredentials(ctx, os.Getenv)
	if err != nil {
		return nil, err
	}
	settings := q.sqs()
	settings.Credentials = keys
	return command.NewSQS(settings)
}

func (q Queues) sqs() command.SQSConfig {
	return command.SQSConfig{Region: q.AWSRegion, Endpoint: q.SQSEndpoint, DeadLetterARN: q.DeadLetters}
}

// problems is what queue would fail with, all of it, and what no queue can be called.
func (q Queues) problems() []error {
	list := q.sqs().Problems()
	if _, err := awsCredentials(context.Background(), os.Getenv); err != nil {
		list = append(list, err)
	}
	if err := q.prefixProblem(); err != nil {
		list = append(list, err)
	}
	return list
}

// awsCredentials are the keys in such a file. They are nil, which leaves the choice to
// command.NewSQS, where the environment has keys, there is no file, or it is empty,
// as a systemd credential that is not set is. Errors quote nothing of the file.
func awsCredentials(ctx context.Context, getenv func(string) string) (aws.CredentialsProvider, error) {
	if getenv("AWS_ACCESS_KEY_ID") != "" {
		return nil, nil //nolint:nilnil // none is an answer here, not a failure
	}
	name, file := awsCredentialsFile, getenv(awsCredentialsFile)
	if dir := getenv("CREDENTIALS_DIRECTORY"); file == "" && dir != "" {
		name, file = awsCredential, filepath.Join(dir, awsCredential)
	}
	if file == "" {
		return nil, nil //nolint:nilnil // as above
	}
	text, err := os.ReadFile(file)
	if name == awsCredential && errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // as above
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil //nolint:nilnil // as above
	}
	profile, err := awsconfig.LoadSharedConfigProfile(ctx, awsconfig.DefaultSharedConfigProfile, func(o *awsconfig.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{file}, []string{}
	})
	if err != nil || !profile.Credentials.HasKeys() {
		return nil, configMistake(name + ": the file has no aws_access_key_id and aws_secret_access_key under [default]")
	}
	return credentials.StaticCredentialsProvider{Value: profile.Credentials}, nil
}
