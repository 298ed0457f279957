package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
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

// Problems lists every setting that can't work, by its variable. Their texts quote
// nothing but a host's name.
func (c SQSConfig) Problems() (list []error) {
	if err := c.endpointProblem(); err != nil {
		list = append(list, err)
	}
	switch {
	case c.Region == "" && !c.local():
		list = append(list, errors.New("AWS_REGION not set: use one such as ap-southeast-1"))
	case c.Region != "" && !regionName.MatchString(c.Region):
		list = append(list, errors.New("AWS_REGION: use a region's name, such as ap-southeast-1"))
	}
	if err := c.deadLetterProblem(); err != nil {
		list = append(list, err)
	}
	return list
}

func (c SQSConfig) endpointProblem() error {
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("AWS_ENDPOINT_URL_SQS: want http://host:port or https://host")
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return fmt.Errorf("AWS_ENDPOINT_URL_SQS: plain HTTP to %s, which is not this machine: use https", u.Hostname())
	}
	return nil
}

var (
	regionName    = regexp.MustCompile(`^[A-Za-z0-9-]{1,63}$`) // part of the service's host name
	deadLetterARN = regexp.MustCompile(`^arn:aws[a-z-]*:sqs:([A-Za-z0-9-]+):[0-9]{12}:[A-Za-z0-9_-]{1,75}\.fifo$`)
)

// deadLetterProblem refuses what SQS would refuse with every queue that is made: the
// connector would run without its queue for ever.
func (c SQSConfig) deadLetterProblem() error {
	if c.DeadLetterARN == "" {
		return nil
	}
	parts := deadLetterARN.FindStringSubmatch(c.DeadLetterARN)
	if parts == nil {
		return errors.New("QUEUE_DEAD_LETTER_ARN: use the ARN of a FIFO queue, arn:aws:sqs:<region>:<account>:<name>.fifo")
	}
	if region := parts[1]; c.Endpoint == "" && c.Region != "" && region != c.Region {
		return fmt.Errorf("QUEUE_DEAD_LETTER_ARN: its queue is in %s: use one in AWS_REGION, where the connectors' queues are", region)
	}
	return nil
}

// local tells whether the service is an emulator on this machine.
func (c SQSConfig) local() bool {
	u, err := url.Parse(c.Endpoint)
	return err == nil && isLoopback(u.Hostname())
}

// complete fills in what is not said.
func (c *SQSConfig) complete() {
	c.Region = cmp.Or(c.Region, localRegion)
	if c.Credentials == nil {
		c.Credentials = chooseCredentials(c.local(), os.Getenv)
	}
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
