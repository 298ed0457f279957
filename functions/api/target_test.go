package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"cloudsession/functions/api"
	"cloudsession/shared/cloudstore"
)

func TestChooseRestorer(t *testing.T) {
	c := func(id string, sessions, capacity int, flags ...string) cloudstore.Connector {
		k := cloudstore.Connector{ID: id, Live: true, Sessions: sessions, Capacity: capacity}
		for _, f := range flags {
			switch f {
			case "draining":
				k.Draining = true
			case "late":
				k.Live = false
			case "dead":
				k.Dead = true
			}
		}
		return k
	}
	tests := []struct {
		name         string
		all          []cloudstore.Connector
		owner, asked string // "" for none
		want         string // connector, or code of the problem
	}{
		{"nobody", nil, "", "", "no_live_connector"},
		{"least by share", []cloudstore.Connector{c("a", 4, 10), c("b", 30, 100), c("c", 5, 10)}, "", "", "b"},
		{"least by number", []cloudstore.Connector{c("b", 0, 10), c("a", 3, 0), c("c", 2, 0)}, "", "", "b"},
		{"tie", []cloudstore.Connector{c("b", 1, 10), c("a", 1, 10)}, "", "", "a"},
		{"late, dead and draining do not count", []cloudstore.Connector{c("a", 0, 9, "late"), c("b", 0, 9, "dead"), c("c", 0, 9, "draining"), c("d", 8, 9)}, "", "", "d"},
		{"only draining", []cloudstore.Connector{c("a", 0, 9, "draining")}, "", "", "no_live_connector"},
		{"all full", []cloudstore.Connector{c("a", 9, 9), c("b", 1, 1)}, "", "", "no_capacity"},
		{"owner, though busiest", []cloudstore.Connector{c("a", 9, 9), c("b", 0, 9)}, "a", "", "a"},
		{"owner dead", []cloudstore.Connector{c("a", 1, 9, "dead"), c("b", 5, 9)}, "a", "", "b"},
		{"owner gone", []cloudstore.Connector{c("b", 5, 9)}, "a", "", "b"},
		{"asked", []cloudstore.Connector{c("a", 1, 9), c("b", 5, 9)}, "", "b", "b"},
		{"asked is the owner", []cloudstore.Connector{c("a", 9, 9), c("b", 5, 9)}, "a", "a", "a"},
		{"asked, owner must let go first", []cloudstore.Connector{c("a", 1, 9), c("b", 5, 9)}, "a", "b", "a"},
		{"asked, owner dead", []cloudstore.Connector{c("a", 1, 9, "dead"), c("b", 5, 9)}, "a", "b", "b"},
		{"asked unknown", []cloudstore.Connector{c("a", 1, 9)}, "", "x", "connector_not_live"},
		{"asked late", []cloudstore.Connector{c("a", 1, 9), c("b", 1, 9, "late")}, "a", "b", "connector_not_live"},
		{"asked draining", []cloudstore.Connector{c("a", 1, 9), c("b", 1, 9, "draining")}, "a", "b", "connector_draining"},
		{"asked full", []cloudstore.Connector{c("a", 1, 9), c("b", 9, 9)}, "a", "b", "no_capacity"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked *string
			if tt.asked != "" {
				asked = &tt.asked
			}
			got, err := api.ChooseRestorer(tt.all, tt.owner, asked)
			if err != nil {
				status, code := api.Problem(err)
				if code != tt.want || status != http.StatusConflict {
					t.Errorf("%d %s, want %s", status, code, tt.want)
				}
				return
			}
			if got.ID != tt.want {
				t.Errorf("%s, want %s", got.ID, tt.want)
			}
		})
	}
}

// TestRestoreArgs: the target that was asked for travels in the row, whoever acts first.
func TestRestoreArgs(t *testing.T) {
	w := newWorld(t, func(o *api.Options) { o.Wait = -1 })
	w.add("a", "vm-1")
	w.connect("vm-1")
	w.connect("vm-2")
	for i, body := range []string{`{"connector":"vm-2"}`, `{}`, ``} {
		if a := w.do("POST", "/cloud/sessions/a/restore", body); a.status != 202 {
			t.Fatalf("%d: %d %s", i, a.status, a.body)
		}
	}
	var args []string
	for _, c := range w.commands {
		args = append(args, fmt.Sprintf("%s %s", c.ConnectorID, c.Args))
	}
	want := map[string]bool{`vm-1 {"connector":"vm-2"}`: true, `vm-1 {}`: true}
	for _, a := range args {
		if !want[a] {
			t.Errorf("row %s", a)
		}
	}
	if len(args) != len(want) {
		t.Errorf("%d rows: %s", len(args), args)
	}
}
