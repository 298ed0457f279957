package cloudstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one numbered file: statements that each may be run twice, since
// TiDB commits every schema change by itself.
type migration struct {
	version    int
	name       string
	statements []string
}

// migrations returns the embedded ones in order. The files are part of the
// program: a bad one is a bug, found by the tests.
func migrations() ([]migration, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []migration
	for i, name := range names {
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		name = strings.TrimSuffix(strings.TrimPrefix(name, "migrations/"), ".sql")
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("migration %s is not number %d", name, i+1)
		}
		all = append(all, migration{version, name, splitStatements(string(text))})
	}
	return all, nil
}

// splitStatements cuts a file at semicolons that end a line and drops comment
// lines: all that our files need.
func splitStatements(text string) []string {
	var all []string
	var current strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "--") {
			continue
		}
		current.WriteString(line)
		if strings.HasSuffix(strings.TrimSpace(line), ";") {
			all = append(all, strings.TrimSuffix(strings.TrimSpace(current.String()), ";"))
			current.Reset()
		}
	}
	return all
}

const (
	createMigrations = `CREATE TABLE IF NOT EXISTS cloudsession_migrations (
		version INT NOT NULL PRIMARY KEY,
		name VARCHAR(255) NOT NULL,
		applied_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
	)`
	// Version 0 is no migration: its row is what migrating processes lock.
	insertMigrationLock = `INSERT INTO cloudsession_migrations (version, name) VALUES (0, 'lock')
		ON DUPLICATE KEY UPDATE version = version`
	lockMigrations = `SELECT version FROM cloudsession_migrations WHERE version = 0 FOR UPDATE`
	maxMigration   = `SELECT version FROM cloudsession_migrations ORDER BY version DESC LIMIT 1`
	// Two processes may both have applied it, see Migrate.
	insertMigration = `INSERT INTO cloudsession_migrations (version, name) VALUES (?, ?)
		ON DUPLICATE KEY UPDATE version = version`
)

// Migrate brings the tables up to what this program needs: numbered steps,
// forward only. Processes that migrate at once wait for each other on a locked
// row; if the lock is lost with its connection, the steps still do no harm when
// two run them. A database of a newer program is left as it is.
func (s *Store) Migrate(ctx context.Context) (err error) {
	steps, err := migrations()
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	// Its own pool: the lock holds one connection while the steps use another,
	// which a store with a single connection could not do.
	own := s.config
	own.MaxConns = 2
	pool, err := Open(own)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	for _, query := range []string{createMigrations, insertMigrationLock} {
		if _, err := pool.exec(ctx, query); err != nil {
			return fmt.Errorf("migrate database: %w", err)
		}
	}
	err = pool.withTransaction(ctx, func(tx *sql.Tx) error {
		if _, err := one(ctx, tx, scanInt, lockMigrations); err != nil {
			return err
		}
		return pool.apply(ctx, steps)
	})
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	return nil
}

// apply runs the steps that are still to be run, outside the lock's transaction.
func (s *Store) apply(ctx context.Context, steps []migration) error {
	done, err := one(ctx, s.db, scanInt, maxMigration)
	if err != nil {
		return err
	}
	for _, m := range steps {
		if m.version <= done {
			continue
		}
		for _, statement := range m.statements {
			if _, err := s.exec(ctx, statement); err != nil {
				return fmt.Errorf("migration %s: %w", m.name, err)
			}
		}
		if _, err := s.exec(ctx, insertMigration, m.version, m.name); err != nil {
			return fmt.Errorf("migration %s: %w", m.name, err)
		}
	}
	return nil
}

func scanInt(row scanner) (n int, err error) {
	err = row.Scan(&n)
	return n, err
}
