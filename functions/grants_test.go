package functions_test

import (
	"database/sql"
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/go-sql-driver/mysql"

	"cloudsession/infra/local/lambdaemu"
	"cloudsession/infra/local/sqsemu"
	"cloudsession/shared/cloudstore"
)

// account makes a database user with these grants and returns how it logs in.
func account(t *testing.T, c cloudstore.Config, name, grants string) cloudstore.Config {
	t.Helper()
	root := c
	root.User, root.Password = "root", ""
	for _, statement := range []string{
		"DROP USER IF EXISTS '" + name + "'",
		"CREATE USER '" + name + "' IDENTIFIED BY '" + name + "-password'",
		fmt.Sprintf("GRANT %s ON `%s`.* TO '%s'", grants, c.Database, name),
	} {
		if err := execute(t, root, statement); err != nil {
			t.Fatal(err)
		}
	}
	c.User, c.Password = name, name+"-password"
	return c
}

func execute(t *testing.T, c cloudstore.Config, statement string) error {
	t.Helper()
	m := mysql.NewConfig()
	m.Net, m.Addr = "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	m.User, m.Passwd, m.DBName = c.User, c.Password, c.Database
	db, err := sql.Open("mysql", m.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	_, err = db.ExecContext(t.Context(), statement)
	return err
}

// TestGrants: the database users of template.yaml are enough for their functions:
// tidb-reader, who can change nothing, and tidb-writer, who can't change tables.
// The session is open on a connector that is alive and does nothing: commands are written
// and answered 202.
func TestGrants(t *testing.T) {
	config, store := seeded(t, "personal")
	connect(t, store, "vm-1").take("personal")
	reader := account(t, config, "reader", "SELECT")
	writer := account(t, config, "writer", "SELECT, INSERT, UPDATE, DELETE")
	if err := execute(t, reader, "UPDATE whatsapp_sessions SET session_data = '' WHERE session_id = 'personal'"); err == nil {
		t.Fatal("the reader can write: the grants are not looked at")
	}
	if err := execute(t, writer, "DROP TABLE whatsapp_sessions"); err == nil {
		t.Fatal("the writer can drop a table")
	}
	queues := new(sqsemu.Server) // answers at once that there is no such queue
	if _, err := queues.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := queues.Close(); err != nil {
			t.Error(err)
		}
	})
	readers := hostOf(t, environment(reader))
	writers := hostOf(t, append(environment(writer), "AWS_ENDPOINT_URL_SQS="+queues.URL()))
	for _, step := range []struct {
		event  string
		host   *lambdaemu.Host
		status int
	}{
		{"list", readers, 200},
		{"status", readers, 200},
		{"command", readers, 404},
		{"sync", writers, 202},
		{"restore", writers, 202},
		{"delete", writers, 200},
	} {
		if res := invoke(t, step.host, step.event); res.StatusCode != step.status {
			t.Errorf("%s: %d %s", step.event, res.StatusCode, res.Body)
		}
	}
	look(t, readers)
}
