package tidbproc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"

	"github.com/go-sql-driver/mysql"

	"cloudsession/shared/cloudstore"
)

// name is what may be used unquoted in the statements below.
var name = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,31}$`)

// CreateDatabase makes sure that a database and a user who may do anything in
// it, and nothing elsewhere, exist, and returns the settings to use them.
// What is in the database stays; the user's password becomes the given one.
func (p *Proc) CreateDatabase(ctx context.Context, database, user, password string) (_ cloudstore.Config, err error) {
	if !name.MatchString(database) || !name.MatchString(user) {
		return cloudstore.Config{}, fmt.Errorf("create database: bad name %q or user %q", database, user)
	}
	host, port, err := p.hostPort()
	if err != nil {
		return cloudstore.Config{}, err
	}
	root := mysql.NewConfig()
	root.User, root.Net, root.Addr = "root", "tcp", p.addr
	root.InterpolateParams = true
	root.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(root)
	if err != nil {
		return cloudstore.Config{}, fmt.Errorf("create database: %w", err)
	}
	db := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, step := range []struct {
		text string
		args []any
	}{
		{"CREATE DATABASE IF NOT EXISTS " + database, nil},
		{"CREATE USER IF NOT EXISTS '" + user + "'@'%'", nil},
		{"ALTER USER '" + user + "'@'%' IDENTIFIED BY ?", []any{password}},
		{"GRANT ALL PRIVILEGES ON " + database + ".* TO '" + user + "'@'%'", nil},
	} {
		if _, err := db.ExecContext(ctx, step.text, step.args...); err != nil {
			return cloudstore.Config{}, fmt.Errorf("create database: %w", err)
		}
	}
	return cloudstore.Config{Host: host, Port: port, User: user, Password: password, Database: database}, nil
}
