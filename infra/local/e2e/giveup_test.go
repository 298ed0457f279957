package e2e

import (
	"strings"
	"testing"

	"cloudsession/connector/control"
)

// O7: a connector comes back with room for one of its two sessions. The other one
// goes, but not without what only its file holds: a message and a send that TiDB
// never heard of.
func TestO7GivenUpWithAllItHas(t *testing.T) {
	s := newScene(t)
	s.ownDatabase()
	all := []*scene{s, s.beside()}
	link, env := s.databaseLink()
	old := s.connector("small", append(env, "CAPACITY=2")...)
	for _, each := range all {
		each.must(old.Pair(each.ctx, each.session, each.owner))
		each.talk(old)
		each.waitPushed(old)
	}
	link.cut()
	sent, heard := map[*scene]string{}, map[*scene]string{}
	order := func(each *scene, c *rigConnector) string {
		t.Helper()
		got, err := c.Send(each.ctx, each.session, control.SendRequest{To: each.peer.PN().String(), Text: "once", Key: "order 17"})
		each.must(err)
		return got.ID
	}
	for _, each := range all {
		sent[each] = order(each, old)
		heard[each] = each.peerWrites()
		_, err := old.WaitText(each.ctx, each.session, heard[each])
		each.must(err)
		each.waitAcknowledged()
	}
	s.must(old.Kill9())
	link.mend()

	again := s.connectorIn(old.ID(), old.DataDir(), append(env, "CAPACITY=1")...)
	s.waitLog(again, "session released: this connector is full")
	roomy := s.connector("roomy")
	went := 0
	for _, each := range all {
		holder := again
		if strings.Contains(again.Logs(), "is full\" session=\""+each.session+"\"") {
			holder, went = roomy, went+1
		}
		each.must(holder.WaitState(each.ctx, each.session, "connected", "restored safely"))
		if id := order(each, holder); id != sent[each] {
			t.Errorf("%s: the repeated request sent %s, the first one %s", each.session, id, sent[each])
		}
		_, err := holder.WaitText(each.ctx, each.session, heard[each])
		each.must(err)
		each.talk(holder)
		each.nothingLost(holder)
	}
	if went != 1 {
		t.Errorf("%d sessions were given up, want 1", went)
	}
	if strings.Contains(roomy.Logs(), "start=safe") {
		t.Error("the session that was given up was taken safely, not exactly")
	}
}
