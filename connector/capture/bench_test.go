package capture

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"cloudsession/connector/capture/capturetest"
)

// write is the write whatsmeow does most: a session is stored again.
func benchWrites(b *testing.B, db *sql.DB, ops *capturetest.Ops) {
	record := make([]byte, 900)
	for i := range 200 {
		if err := ops.Device.Sessions.PutSession(b.Context(), fmt.Sprintf("628%d:0", i), record); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, _ = rand.Read(record[:16])
		if err := ops.Device.Sessions.PutSession(b.Context(), fmt.Sprintf("628%d:0", i%200), record); err != nil {
			b.Fatal(err)
		}
	}
}

func benchOps(b *testing.B, db *sql.DB) *capturetest.Ops {
	ops, err := capturetest.NewOps(b.Context(), db, 1)
	if err != nil {
		b.Fatal(err)
	}
	return ops
}

// BenchmarkWritePlain is a write through the plain driver, without capture.
func BenchmarkWritePlain(b *testing.B) {
	db, err := sql.Open("sqlite", dsn(filepath.Join(b.TempDir(), "plain.db")))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	benchWrites(b, db, benchOps(b, db))
}

// BenchmarkWriteWithout is a write through a File without triggers.
func BenchmarkWriteWithout(b *testing.B) {
	f := open(b, "", Options{})
	benchWrites(b, f.DB(), benchOps(b, f.DB()))
}

// BenchmarkWriteWith is the same write with capture installed.
func BenchmarkWriteWith(b *testing.B) {
	f := open(b, "", Options{})
	ops := benchOps(b, f.DB())
	install(b, f)
	benchWrites(b, f.DB(), ops)
}

// BenchmarkPush is what a push of one changed session costs in the file.
func BenchmarkPush(b *testing.B) {
	s := newSession(b, 1)
	record := make([]byte, 900)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, _ = rand.Read(record[:16])
		if err := s.ops.Device.Sessions.PutSession(b.Context(), fmt.Sprintf("628%d:0", i%200), record); err != nil {
			b.Fatal(err)
		}
		c, _, err := s.Delta(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		p := s.inFlight(c)
		if err := s.SetInFlight(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		if err := s.Acknowledge(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplayBase makes a file of about 1 MB.
func BenchmarkReplayBase(b *testing.B) {
	s := newSession(b, 1)
	for i := range 1100 {
		if err := s.ops.Device.Sessions.PutSession(b.Context(), fmt.Sprintf("628%d:0", i), make([]byte, 900)); err != nil {
			b.Fatal(err)
		}
	}
	c, err := s.Base(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f, err := Create(b.Context(), filepath.Join(b.TempDir(), "session.db"), c.Push, Options{})
		must(b, err)
		must(b, tryReplay(b, f, c.Push))
		must(b, f.Close())
	}
}
