package inspect

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Text writes the log's epochs and rows as tables.
func (l Log) Text(w io.Writer) error {
	t := newTable(w)
	t.line("session", printable(l.SessionID))
	t.line("owner", dash(l.Owner.ConnectorID))
	t.line("epoch", l.Owner.Epoch)
	t.line("state", dash(l.Owner.State))
	t.line("backup", dash(l.Owner.Backup))
	t.line("credentials", l.Credentials)
	for _, e := range l.Epochs {
		t.line()
		follows := "-"
		if e.ParentEpoch != 0 {
			follows = fmt.Sprintf("%d/%d", e.ParentEpoch, e.ParentSeq)
		}
		lineage := ""
		if !e.InLineage {
			lineage = ", not in the lineage"
		}
		t.line(fmt.Sprintf("epoch %d%s", e.Epoch, lineage), "follows "+follows, "start "+e.Start, dash(e.ConnectorID), stamp(e.StartedAt), e.Reason)
		for _, r := range e.Rows {
			ignored := ""
			if !r.Counts && (r.Kind == "base" || r.Kind == "delta") {
				ignored = "behind the end"
			}
			t.line("  "+fmt.Sprint(r.Seq), r.Kind, fmt.Sprintf("part %d of %d", r.Part, r.Parts), r.Tag[:min(16, len(r.Tag))], stamp(r.CreatedAt), ignored)
		}
	}
	return t.flush()
}

// Text writes the report.
func (r Report) Text(w io.Writer) error {
	t := newTable(w)
	t.line("session", printable(r.SessionID))
	verdict := "whole"
	if !r.OK {
		verdict = "DAMAGED"
	}
	t.line("verdict", verdict)
	t.line("rows verified", fmt.Sprintf("%d (%d bytes), epoch %d seq %d to epoch %d seq %d",
		r.Log.Rows, r.Log.Bytes, r.Log.FromEpoch, r.Log.FromSeq, r.Log.LastEpoch, r.Log.LastSeq))
	t.line("pushes", fmt.Sprintf("%d, of which bases: %d; %d records", r.Log.Pushes, r.Log.Bases, r.Log.Records))
	t.line("unfinished", r.Log.Unfinished)
	t.line("sealed", r.Log.Sealed)
	t.line("credentials", r.Credentials)
	if r.Identity != nil {
		t.line("device", r.Identity.JID+" "+r.Identity.LID)
	}
	for _, n := range r.Notes {
		t.line("note", n)
	}
	for _, f := range r.Faults {
		t.line("FAULT", f.Where+": "+f.Code+": "+f.Error)
	}
	return t.flush()
}

// Text writes the tables that have rows.
func (s State) Text(w io.Writer) error {
	t := newTable(w)
	t.line("session", printable(s.SessionID))
	t.line("log ends at", fmt.Sprintf("epoch %d seq %d", s.LastEpoch, s.LastSeq))
	t.line("schema version", s.SchemaVersion)
	t.line("credentials", s.Credentials)
	if s.Identity != nil {
		t.line("device", s.Identity.JID+" "+s.Identity.LID)
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, table := range s.Tables {
		if len(table.Rows) == 0 {
			continue
		}
		t := newTable(w)
		t.line()
		t.line(fmt.Sprintf("%s (%d rows)", table.Name, len(table.Rows)))
		t.line("  " + strings.Join(table.Columns, "\t"))
		for _, row := range table.Rows {
			cells := make([]string, len(row))
			for i, c := range row {
				cells[i] = c.String()
			}
			t.line("  " + strings.Join(cells, "\t"))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	return nil
}

// table writes lines of cells; the first error stays.
type table struct {
	w   *tabwriter.Writer
	err error
}

func newTable(w io.Writer) *table { return &table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)} }

func (t *table) line(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
	}
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w, strings.TrimRight(strings.Join(texts, "\t"), "\t "))
	}
}

func (t *table) flush() error {
	if t.err == nil {
		t.err = t.w.Flush()
	}
	if t.err != nil {
		return fmt.Errorf("write table: %w", t.err)
	}
	return nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
