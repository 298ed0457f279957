// Package config holds the groups of environment variables the functions
// share. Each function's own struct embeds the groups it needs; what is not
// named there is not read. None of them names the secret that opens sessions.
package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"cloudsession/functions/api"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/command"
)

// Database says which TiDB to use.
type Database struct {
	Host     string `env:"TIDB_HOST,required,notEmpty"`     // name or address
	Port     int    `env:"TIDB_PORT" envDefault:"4000"`     // 1 to 65535
	User     string `env:"TIDB_USER,required,notEmpty"`     //
	Password string `env:"TIDB_PASSWORD"`                   // never logged
	Name     string `env:"TIDB_DATABASE,required,notEmpty"` // the schema, such as whiskeysocket_crm
	TLS      string `env:"TIDB_TLS"`                        // verify or off; default: verify unless TIDB_HOST is loopback
	CAFile   string `env:"TIDB_CA"`                         // PEM file of extra roots
}

// Connections is how many connections one function keeps: an instance serves
// one request at a time, and a second connection lets that request go on while
// the first one's death is being noticed.
const Connections = 2

// Store is the configuration of the database package, which logs to log.
func (d Database) Store(log *slog.Logger) cloudstore.Config {
	return cloudstore.Config{
		Host: d.Host, Port: d.Port, User: d.User, Password: d.Password, Database: d.Name,
		TLS: cloudstore.TLSMode(d.TLS), CAFile: d.CAFile, MaxConns: Connections, Log: log,
	}
}

func (d Database) validate() error {
	var errs []error
	if d.Port < 1 || d.Port > 65535 {
		errs = append(errs, errors.New("TIDB_PORT is not a port number"))
	}
	if d.TLS != "" && d.TLS != string(cloudstore.TLSVerify) && d.TLS != string(cloudstore.TLSOff) {
		errs = append(errs, errors.New("TIDB_TLS is neither verify nor off"))
	}
	return errors.Join(errs...)
}

// Tokens says whose bearer tokens are good; see api.AuthConfig.
type Tokens struct {
	Secret   string `env:"JWT_SECRET"`   // HS256: at least 32 bytes; shared with the Node service if its users call
	JWKSURL  string `env:"JWT_JWKS_URL"` // RS256 or ES256: where the keys are; instead of JWT_SECRET
	Issuer   string `env:"JWT_ISSUER"`   // claim iss; required with JWT_JWKS_URL
	Audience string `env:"JWT_AUDIENCE"` // claim aud; required with JWT_JWKS_URL
}

// Auth is the configuration of the API's authentication.
func (t Tokens) Auth() api.AuthConfig {
	return api.AuthConfig{Secret: []byte(t.Secret), JWKSURL: t.JWKSURL, Issuer: t.Issuer, Audience: t.Audience}
}

func (t Tokens) validate() error { return t.Auth().Validate() }

// Queue says where the connectors' queues are. A Lambda has AWS_REGION and its
// role's credentials in the environment already.
type Queue struct {
	Region   string        `env:"AWS_REGION"`
	Endpoint string        `env:"AWS_ENDPOINT_URL_SQS"`          // an emulator instead of Amazon's
	Wait     time.Duration `env:"COMMAND_WAIT" envDefault:"20s"` // how long a request waits for its command before it is answered 202
}

// SQS is the configuration of the queue package.
func (q Queue) SQS() command.SQSConfig {
	return command.SQSConfig{Region: q.Region, Endpoint: q.Endpoint}
}

func (q Queue) validate() error {
	var errs []error
	if q.Wait < time.Second || q.Wait > api.DefaultWait {
		errs = append(errs, fmt.Errorf("COMMAND_WAIT is not between 1s and %s", api.DefaultWait))
	}
	return errors.Join(append(errs, q.SQS().Problems()...)...)
}

// Metrics says whose metrics a function publishes, in its log.
type Metrics struct {
	Deployment string `env:"DEPLOYMENT"` // dimension of every metric; empty: none are published
}

func (m Metrics) validate() error { return nil }

// Logging says what is logged, to the standard error stream.
type Logging struct {
	Level  slog.Level `env:"LOG_LEVEL" envDefault:"info"`  // debug, info, warn or error
	Format string     `env:"LOG_FORMAT" envDefault:"json"` // json or text
}

// Logger makes the logger.
func (l Logging) Logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: l.Level}
	if l.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func (l Logging) validate() error {
	if l.Format != "json" && l.Format != "text" {
		return errors.New("LOG_FORMAT is neither json nor text")
	}
	return nil
}

// Read fills the struct c points to from environ ("NAME=value", as os.Environ
// gives it). Its error lists every mistake, one a line, and quotes no secret.
func Read(c any, environ []string) error {
	var errs []error
	err := env.ParseWithOptions(c, env.Options{Environment: env.ToMap(environ)})
	if all, ok := errors.AsType[env.AggregateError](err); ok {
		errs = append(errs, all.Errors...)
	} else if err != nil {
		errs = append(errs, err)
	}
	for _, group := range groupsOf(c) {
		if err := group.validate(); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("configuration:\n  %s", strings.ReplaceAll(errors.Join(errs...).Error(), "\n", "\n  "))
}
