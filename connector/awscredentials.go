package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"cloudsession/shared/command"
)

// awsCredentialsFile names a file in the form of ~/.aws/credentials, whose profile
// "default" is used: the unit puts the keys of machines outside AWS there.
const awsCredentialsFile = "AWS_SHARED_CREDENTIALS_FILE" //nolint:gosec // G101: the name of a variable

// queue sets up SQS, without touching the network.
func (c *Config) queue(ctx context.Context) (*command.SQS, error) {
	keys, err := awsCredentials(ctx, os.Getenv)
	if err != nil {
		return nil, err
	}
	return command.NewSQS(command.SQSConfig{Region: c.AWSRegion, Endpoint: c.SQSEndpoint, DeadLetterARN: c.DeadLetters, Credentials: keys})
}

// awsCredentials are the keys in that file. They are nil, which leaves the choice to
// command.NewSQS, where the environment has keys, no file is named, or it is empty,
// as a systemd credential that is not set is. Errors quote nothing of the file.
func awsCredentials(ctx context.Context, getenv func(string) string) (aws.CredentialsProvider, error) {
	file := getenv(awsCredentialsFile)
	if file == "" || getenv("AWS_ACCESS_KEY_ID") != "" {
		return nil, nil //nolint:nilnil // none is an answer here, not a failure
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", awsCredentialsFile, err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil //nolint:nilnil // as above
	}
	profile, err := awsconfig.LoadSharedConfigProfile(ctx, awsconfig.DefaultSharedConfigProfile, func(o *awsconfig.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{file}, []string{}
	})
	if err != nil || !profile.Credentials.HasKeys() {
		return nil, configMistake(awsCredentialsFile + ": the file has no aws_access_key_id and aws_secret_access_key under [default]")
	}
	return credentials.StaticCredentialsProvider{Value: profile.Credentials}, nil
}
