package command

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// localRegion is the region of an emulator on this machine, which needs none.
const localRegion = "us-east-1"

// SQSConfig says where SQS is and who is asking.
type SQSConfig struct {
	// Region, such as "ap-southeast-1" (AWS_REGION). Required unless Endpoint is on loopback.
	Region string
	// Endpoint replaces Amazon's (AWS_ENDPOINT_URL_SQS), "http://host:port".
	// Plain HTTP is accepted on loopback only. Empty: the region's own.
	Endpoint string
	// DeadLetterARN is the FIFO queue that takes messages nobody could handle
	// (made by template.yaml). Empty: such messages live until Retention.
	DeadLetterARN string
	// Credentials replaces the choice described at NewSQS.
	Credentials aws.CredentialsProvider
}

// SQSConfigFromEnv reads AWS_REGION (or AWS_DEFAULT_REGION),
// AWS_ENDPOINT_URL_SQS and QUEUE_DEAD_LETTER_ARN.
func SQSConfigFromEnv(getenv func(string) string) SQSConfig {
	return SQSConfig{
		Region:        cmp.Or(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION")),
		Endpoint:      getenv("AWS_ENDPOINT_URL_SQS"),
		DeadLetterARN: getenv("QUEUE_DEAD_LETTER_ARN"),
	}
}

// validate fills in what loopback needs not say and refuses what can't work.
func (c *SQSConfig) validate() error {
	local := false
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("AWS_ENDPOINT_URL_SQS: want http://host:port or https://host")
		}
		local = isLoopback(u.Hostname())
		if u.Scheme == "http" && !local {
			return fmt.Errorf("AWS_ENDPOINT_URL_SQS: plain HTTP to %s, which is not this machine", u.Hostname())
		}
	}
	if c.Region == "" && !local {
		return fmt.Errorf("AWS_REGION not set")
	}
	c.Region = cmp.Or(c.Region, localRegion)
	if c.Credentials == nil {
		c.Credentials = chooseCredentials(local, os.Getenv)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// chooseCredentials picks the source once: the environment's keys (a Lambda has
// the role's there, for the life of the process), dummies for an emulator on
// this machine, else the VM's instance role. The SDK's own chain
// (config.LoadDefaultConfig) does more, but adds 2 MB and 5 ms to a Lambda.
func chooseCredentials(local bool, getenv func(string) string) aws.CredentialsProvider {
	if id, secret := getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY"); id != "" && secret != "" {
		return credentials.NewStaticCredentialsProvider(id, secret, getenv("AWS_SESSION_TOKEN"))
	}
	if local {
		return credentials.NewStaticCredentialsProvider("local", "local", "")
	}
	return instanceRole()
}

// instanceRole asks the VM's metadata service and keeps the answer until five
// minutes before it expires.
func instanceRole() aws.CredentialsProvider {
	role := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = imds.New(imds.Options{}) })
	cached := aws.NewCredentialsCache(role, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 5 * time.Minute })
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		c, err := cached.Retrieve(ctx)
		if err != nil {
			return c, fmt.Errorf("no AWS_ACCESS_KEY_ID in the environment, and reading the VM's instance role: %w", err)
		}
		return c, nil
	})
}
