package main

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// Config is everything `connector run` reads from its environment. The help
// tags are the documentation: `connector config` prints them.
type Config struct {
	Database
	Secrets
	Local
	Webhook
	Monitoring
	Queues

	Capacity     int    `env:"CAPACITY" envDefault:"1000" help:"how many sessions this connector holds at most"`
	DeviceName   string `env:"DEVICE_NAME" envDefault:"Cloud Session Sync" help:"name in the phone's list of linked devices"`
	TestService  string `env:"WHATSAPP_TEST_SERVICE" help:"host:port of a simulated WhatsApp service on this machine; empty for the real one"`
	TestRoot     string `env:"WHATSAPP_TEST_ROOT" help:"root public key of the simulated service, 64 hex digits"`
	LogLevel     string `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error"`
	LogFormat    string `env:"LOG_FORMAT" envDefault:"text" help:"text or json"`
	ProtectTime  int    `env:"PROTECT_SECONDS" envDefault:"2" help:"how long an incoming message waits for TiDB before it is acknowledged without, in seconds"`
	StopDeadline int    `env:"STOP_SECONDS" envDefault:"10" help:"how long a clean stop may take, in seconds"`
}

// Database says how TiDB is reached.
type Database struct {
	Host     string `env:"TIDB_HOST" help:"host of TiDB (required)"`
	Port     int    `env:"TIDB_PORT" envDefault:"4000" help:"port of TiDB"`
	User     string `env:"TIDB_USER" help:"user (required)"`
	Password string `env:"TIDB_PASSWORD" help:"password"`
	Name     string `env:"TIDB_DATABASE" help:"database (required)"`
	TLS      string `env:"TIDB_TLS" help:"verify or off; without it: verify, except on loopback"`
	CA       string `env:"TIDB_CA" help:"PEM file with the authority that signed TiDB's certificate; without it: the system's"`
}

// Secrets holds what opens the sessions. Its values never reach a log.
type Secrets struct {
	Secret   string `env:"SESSION_ENCRYPTION_SECRET" help:"secret that the sessions are sealed with (required, 32 characters or more)"`
	Previous string `env:"SESSION_ENCRYPTION_SECRET_PREVIOUS" help:"earlier secrets, comma-separated: they open, the current one seals"`
}

// Local says who this connector is on this machine.
type Local struct {
	ConnectorID string `env:"CONNECTOR_ID" help:"name of this connector, unique among all; without it: the host name"`
	DataDir     string `env:"DATA_DIR" envDefault:"./data/connector" help:"folder for the session files and the local socket"`
}

// Queues says where the connectors' queues are, and what they are called.
type Queues struct {
	QueuePrefix string `env:"QUEUE_PREFIX" envDefault:"cloudsession" help:"first part of this connector's queue name"`
	DeadLetters string `env:"QUEUE_DEAD_LETTER_ARN" help:"ARN of a FIFO queue for messages that were refused five times"`
	SQSEndpoint string `env:"AWS_ENDPOINT_URL_SQS" help:"another SQS endpoint than AWS's, such as the local emulator"`
	AWSRegion   string `env:"AWS_REGION" envDefault:"ap-southeast-1" help:"AWS region of the queues"`
}

// load fills target (a pointer to one of the structs above) from the environment
// and the credential files. Its error lists every mistake: what can't be read, and
// what target's own problems say of the rest.
func (p program) load(target any) error {
	unread, err := p.read(target)
	if err != nil {
		return err
	}
	var list []error
	for _, u := range unread {
		list = append(list, u.err)
	}
	if c, ok := target.(interface{ problems() []error }); ok {
		list = append(list, slices.DeleteFunc(c.problems(), func(err error) bool { return knownOf(unread, err) })...)
	}
	return configError(list)
}

// problem is why a variable has no value.
type problem struct {
	variable string
	err      error
}

// knownOf tells whether err is about a variable that could not be read: what is
// said of the value that it has instead would only mislead.
func knownOf(unread []problem, err error) bool {
	about, _, _ := strings.Cut(err.Error(), " ")
	about = strings.TrimSuffix(about, ":")
	return slices.ContainsFunc(unread, func(u problem) bool { return u.variable == about })
}

// read fills target as far as it can, and returns what it can't read or parse.
func (p program) read(target any) ([]problem, error) {
	environment, unread := p.withCredentials(target)
	environment = withUnset(environment, target)
	err := env.ParseWithOptions(target, env.Options{Environment: environment})
	list, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return unread, err
	}
	for _, e := range list.Errors {
		bad, ok := errors.AsType[env.ParseError](e)
		if !ok {
			return unread, e
		}
		unread = append(unread, parseProblem(bad, target))
	}
	return unread, nil
}

// withUnset adds the defaults of variables that mean something when they are
// empty. The library's own defaults stand for an empty value, too.
func withUnset(environment map[string]string, target any) map[string]string {
	all := maps.Clone(environment)
	for _, f := range fields(reflect.TypeOf(target).Elem()) {
		name := f.Tag.Get("env")
		if _, set := all[name]; !set && f.Tag.Get("unset") != "" {
			all[name] = f.Tag.Get("unset")
		}
	}
	return all
}

// parseProblem names the variable, which the library calls by its field, and
// leaves out the value, which may be a secret in the wrong place.
func parseProblem(bad env.ParseError, target any) problem {
	name := bad.Name
	for _, f := range fields(reflect.TypeOf(target).Elem()) {
		if f.Name == bad.Name {
			name = f.Tag.Get("env")
		}
	}
	switch bad.Type.Kind() {
	case reflect.Int:
		return problem{name, fmt.Errorf("%s: use a whole number", name)}
	case reflect.Bool:
		return problem{name, fmt.Errorf("%s: use true or false", name)}
	default:
		return problem{name, fmt.Errorf("%s: not a %s", name, bad.Type)}
	}
}

func configError(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("configuration:")
	for _, e := range problems {
		b.WriteString("\n  " + e.Error())
	}
	b.WriteString("\n(`connector config` lists every variable)")
	return configMistake(b.String())
}

// configMistake is an error of the configuration: the same start again has the
// same end.
type configMistake string

func (e configMistake) Error() string { return string(e) }

func (d Database) problems() (list []error) {
	for _, v := range []struct{ name, value string }{
		{"TIDB_HOST", d.Host}, {"TIDB_USER", d.User}, {"TIDB_DATABASE", d.Name},
	} {
		if v.value == "" {
			list = append(list, fmt.Errorf("%s is not set", v.name))
		}
	}
	if d.Port < 1 || d.Port > 65535 {
		list = append(list, fmt.Errorf("TIDB_PORT: %d is not a port", d.Port))
	}
	if d.TLS != "" && d.TLS != "verify" && d.TLS != "off" {
		list = append(list, errors.New("TIDB_TLS: use verify or off"))
	}
	if err := d.caProblem(); err != nil {
		list = append(list, err)
	}
	return list
}

// caProblem is what opening the database would fail with.
func (d Database) caProblem() error {
	if d.CA == "" || !d.store(0).UsesTLS() {
		return nil
	}
	pem, err := os.ReadFile(d.CA)
	if err != nil {
		return fmt.Errorf("TIDB_CA: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return fmt.Errorf("TIDB_CA: no certificate in %s: use a PEM file", d.CA)
	}
	return nil
}

func (s Secrets) keyring() (*envelope.Keyring, error) {
	var previous []string
	for v := range strings.SplitSeq(s.Previous, ",") {
		if v = strings.TrimSpace(v); v != "" {
			previous = append(previous, v)
		}
	}
	return envelope.NewKeyring(s.Secret, previous...)
}

// connectorName is what CONNECTOR_ID may be: it becomes part of a queue's name,
// which SQS limits to 80 characters of this alphabet.
var connectorName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)

func (c *Config) problems() (list []error) {
	list = c.Database.problems()
	if _, err := c.keyring(); err != nil {
		list = append(list, err)
	}
	if err := c.resolveID(); err != nil {
		list = append(list, err)
	}
	for _, v := range []struct {
		name  string
		value int
	}{{"CAPACITY", c.Capacity}, {"PROTECT_SECONDS", c.ProtectTime}, {"STOP_SECONDS", c.StopDeadline}} {
		if v.value < 1 {
			list = append(list, fmt.Errorf("%s: use 1 or more", v.name))
		}
	}
	if _, err := c.endpoint(); err != nil {
		list = append(list, err)
	}
	list = append(list, c.Queues.problems()...)
	list = append(list, c.Webhook.problems()...)
	if err := c.addrProblem(); err != nil {
		list = append(list, err)
	}
	if _, err := c.logLevel(); err != nil {
		list = append(list, err)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		list = append(list, errors.New("LOG_FORMAT: use text or json"))
	}
	return list
}

func (q Queues) prefixProblem() error {
	if !connectorName.MatchString(q.QueuePrefix) {
		return errors.New("QUEUE_PREFIX: use 1 to 40 letters, digits, - and _")
	}
	return nil
}

func (c *Config) resolveID() error {
	if c.ConnectorID == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("CONNECTOR_ID is not set, and the host name can't be read: %w", err)
		}
		c.ConnectorID = strings.ReplaceAll(host, ".", "-")
	}
	if !connectorName.MatchString(c.ConnectorID) {
		return fmt.Errorf("CONNECTOR_ID: %q: use 1 to 40 letters, digits, - and _", c.ConnectorID)
	}
	return nil
}

func (c *Config) endpoint() (whatsapp.Endpoint, error) {
	return whatsapp.ParseEndpoint(c.TestService, c.TestRoot)
}

func (c *Config) logLevel() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return 0, errors.New("LOG_LEVEL: use debug, info, warn or error")
	}
	return level, nil
}

func (d Database) open(maxConns int) (*cloudstore.Store, error) {
	return cloudstore.Open(d.store(maxConns))
}

func (d Database) store(maxConns int) cloudstore.Config {
	cfg := cloudstore.Config{
		Host: d.Host, Port: d.Port, User: d.User, Password: d.Password, Database: d.Name,
		CAFile: d.CA, MaxConns: maxConns,
	}
	switch d.TLS {
	case "verify":
		cfg.TLS = cloudstore.TLSVerify
	case "off":
		cfg.TLS = cloudstore.TLSOff
	}
	return cfg
}

func (l Local) dataDir() (string, error) {
	dir, err := filepath.Abs(l.DataDir)
	if err != nil {
		return "", fmt.Errorf("DATA_DIR: %w", err)
	}
	return dir, nil
}

func configCommand(p program) *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "List the environment variables and what they mean", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "VARIABLE\tDEFAULT\tMEANING")
			for _, f := range fields(reflect.TypeFor[Config]()) {
				preset := cmp.Or(f.Tag.Get("envDefault"), f.Tag.Get("unset"))
				fmt.Fprintf(w, "%s\t%s\t%s\n", f.Tag.Get("env"), preset, f.Tag.Get("help"))
			}
			fmt.Fprintln(w, "\nNot set, these may be files of that name in $CREDENTIALS_DIRECTORY:", strings.Join(secretVariables, ", "))
			return w.Flush()
		},
	}
}

// fields lists the configuration's leaf fields, in order.
func fields(t reflect.Type) (list []reflect.StructField) {
	for f := range t.Fields() {
		if f.Anonymous {
			list = append(list, fields(f.Type)...)
		} else {
			list = append(list, f)
		}
	}
	return list
}

func parseEnviron(environ []string) map[string]string {
	m := make(map[string]string, len(environ))
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			m[k] = v
		}
	}
	return m
}
