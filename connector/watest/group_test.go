package watest_test

import (
	"testing"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"cloudsession/connector/watest"
)

func TestGroup(t *testing.T) {
	for _, mode := range []types.AddressingMode{types.AddressingModeLID, types.AddressingModePN} {
		t.Run(string(mode), func(t *testing.T) {
			s, addr := service(t)
			alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
			carol := newPhone(t, s, "6283333333333", "Carol")
			a, b := pairQR(t, addr, alice), pairQR(t, addr, bob)
			group, err := carol.CreateGroupAddressed(testContext(t), mode, alice.PN(), bob.LID())
			if err != nil {
				t.Fatal(err)
			}
			joined := await[*events.JoinedGroup](a, "notification of the group", nil)
			if joined.JID != group || len(joined.Participants) != 3 || joined.AddressingMode != mode {
				t.Errorf("joined %+v", joined.GroupInfo)
			}
			talkInGroup(t, group, a, b, alice, bob, carol)
			expectSound(t, s)
		})
	}
}

func talkInGroup(t *testing.T, group types.JID, a, b *client, phones ...*watest.Phone) {
	t.Helper()
	for _, round := range []string{"first", "second"} {
		a.send(group, round+" from a")
		b.send(group, round+" from b")
		sendText(t, phones[2], group, round+" from Carol")
		for _, p := range phones {
			waitText(t, p, round+" from a")
			waitText(t, p, round+" from b")
		}
		for _, c := range []*client{a, b} {
			if m := c.awaitText(round + " from Carol"); m.Info.Chat != group || !m.Info.IsGroup {
				t.Errorf("client sees %+v", m.Info)
			}
		}
		a.awaitText(round + " from b")
		b.awaitText(round + " from a")
		waitText(t, phones[0], round+" from Carol")
	}
}

func TestGroupMadeByClient(t *testing.T) {
	s, addr := service(t)
	alice, bob := newPhone(t, s, "6281111111111", "Alice"), newPhone(t, s, "6282222222222", "Bob")
	carol := newPhone(t, s, "6283333333333", "Carol")
	a, b := pairQR(t, addr, alice), pairQR(t, addr, bob)
	ctx := testContext(t)
	info, err := a.CreateGroup(ctx, whatsmeow.ReqCreateGroup{Name: "plans", Participants: []types.JID{bob.LID()}})
	if err != nil {
		t.Fatal(err)
	}
	await[*events.JoinedGroup](b, "notification of the group", nil)
	a.send(info.JID, "before Carol")
	b.awaitText("before Carol")
	if _, err := a.UpdateGroupParticipants(ctx, info.JID, []types.JID{carol.LID()}, whatsmeow.ParticipantChangeAdd); err != nil {
		t.Fatal(err)
	}
	await(b, "join of Carol", func(e *events.GroupInfo) bool { return len(e.Join) == 1 && e.Join[0] == carol.LID() })
	b.send(info.JID, "welcome")
	waitText(t, carol, "welcome")
	if groups, err := a.GetJoinedGroups(ctx); err != nil || len(groups) != 1 || len(groups[0].Participants) != 3 {
		t.Errorf("joined groups: %v, %+v", err, groups)
	}
	if err := b.LeaveGroup(ctx, info.JID); err != nil {
		t.Fatal(err)
	}
	if _, err := b.GetGroupInfo(ctx, info.JID); err == nil {
		t.Error("a group one has left still answers")
	}
	await(a, "Bob's leaving", func(e *events.GroupInfo) bool { return len(e.Leave) == 1 })
	a.send(info.JID, "without Bob")
	waitText(t, carol, "without Bob")
	expectSound(t, s)
}
