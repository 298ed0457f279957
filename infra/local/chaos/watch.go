package chaos

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
	waBinary "go.mau.fi/whatsmeow/binary"

	"cloudsession/connector/watest"
	"cloudsession/shared/cloudstore"
)

const toDevice = watest.ToDevice

func isMessage(n *waBinary.Node) bool { return n.Tag == "message" }

// openDatabase opens TiDB around the store, which would judge what it reads.
func openDatabase(c cloudstore.Config) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	cfg.User, cfg.Passwd, cfg.DBName = c.User, c.Password, c.Database
	cfg.ParseTime, cfg.Loc = true, time.UTC
	cfg.Params = map[string]string{"time_zone": "'+00:00'"}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// watcher looks at the owner rows and the key counters all the time.
type watcher struct {
	epochs map[string]uint64 // highest seen, by session
	owners map[string]string // who had that epoch
}

// run looks until the run ends, and ends it when a promise is broken.
func (w *watcher) run(h *Harness) {
	w.epochs, w.owners = map[string]uint64{}, map[string]string{}
	for pause(h.ctx, 100*time.Millisecond) {
		if err := w.look(h); err != nil && h.ctx.Err() == nil {
			h.fail(err)
			return
		}
	}
}

func (w *watcher) look(h *Harness) error {
	if reuses := h.rig.WhatsApp.Reuses(); len(reuses) > 0 && !slices.Contains(h.opt.Tolerate, "I3") {
		r := reuses[0]
		return h.violation("I3", h.sessionOf(r.Device), "message key %d used for %s and then for %s", r.Counter, r.FirstID, r.ID)
	}
	if n := h.rig.WhatsApp.Counters().ShownTwice; n > 0 {
		return h.violation("I2", "", "%d texts were shown twice", n)
	}
	ctx, cancel := context.WithTimeout(h.ctx, limit)
	defer cancel()
	rows, err := h.db.QueryContext(ctx, `SELECT session_id, epoch, COALESCE(connector_id, '') FROM session_owners`)
	if err != nil {
		return fmt.Errorf("watch owners: %w", err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err below reports what matters
	for rows.Next() {
		var session, connector string
		var epoch uint64
		if err := rows.Scan(&session, &epoch, &connector); err != nil {
			return fmt.Errorf("watch owners: %w", err)
		}
		if err := w.note(h, session, connector, epoch); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("watch owners: %w", err)
	}
	return nil
}

// note checks I4: epochs only grow, and an epoch is one connector's.
func (w *watcher) note(h *Harness, session, connector string, epoch uint64) error {
	before := w.epochs[session]
	if epoch < before {
		return h.violation("I4", session, "the owner row's epoch went from %d to %d", before, epoch)
	}
	if epoch > before {
		w.epochs[session], w.owners[session] = epoch, ""
	}
	if connector == "" {
		return nil
	}
	if had := w.owners[session]; had != "" && had != connector {
		return h.violation("I4", session, "epoch %d was %s's and is %s's", epoch, had, connector)
	}
	w.owners[session] = connector
	return nil
}
