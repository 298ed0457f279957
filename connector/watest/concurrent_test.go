package watest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"

	"cloudsession/connector/watest"
)

// seed gives the seed of a random test: CLOUDSESSION_SEED or a new one.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	value := uint64(time.Now().UnixNano())
	if set := os.Getenv("CLOUDSESSION_SEED"); set != "" {
		var err error
		if value, err = strconv.ParseUint(set, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CLOUDSESSION_SEED=%d", value)
	return rand.New(rand.NewPCG(value, 0))
}

// A client sends in several chats at once while everybody's sockets are cut.
// Whatever was accepted is shown, once.
//
// Only one side writes at a time: whatsmeow itself may use a message key twice
// when it encrypts, decrypts and answers retries in one session at once.
func TestSendingWhileSocketsAreCut(t *testing.T) {
	random := seed(t)
	s, addr := service(t)
	var phones []*watest.Phone
	var clients []*client
	for i, name := range []string{"Alice", "Bob", "Carol"} {
		phones = append(phones, newPhone(t, s, fmt.Sprintf("6281%07d", i), name))
		clients = append(clients, pairQR(t, addr, phones[i], (*client).reconnectByHand))
	}
	group, err := phones[0].CreateGroup(testContext(t), phones[1].LID(), phones[2].LID())
	if err != nil {
		t.Fatal(err)
	}
	chats := []types.JID{group, phones[0].PN(), phones[1].LID(), phones[2].PN()}
	for n, chat := range chats {
		clients[0].send(chat, fmt.Sprintf("opening of chat %d", n))
	}

	const rounds = 15
	const total = (rounds + 1) * 4
	var work sync.WaitGroup
	for n, chat := range chats {
		work.Go(func() {
			for i := range rounds {
				text := fmt.Sprintf("%d in chat %d", i, n)
				if err := sendPersistently(t, s, clients[0], chat, text); err != nil {
					t.Errorf("%s: %v", text, err)
				}
			}
		})
	}
	for range 6 {
		device := *clients[random.IntN(len(clients))].Store.ID
		until := s.Counters().Accepted + 1 + random.IntN(8)
		waitFor(t, s, "messages come", func() bool { return s.Counters().Accepted >= min(until, total) })
		s.Faults().Cut(&device)
	}
	work.Wait()
	expectNothingLost(t, s)
	for _, c := range clients[1:] {
		c.awaitText(fmt.Sprintf("%d in chat 0", rounds-1))
	}
	if c := s.Counters(); c.MaxSocketsPerDevice != 1 || c.ShownTwice != 0 || c.KeysReused != 0 || c.Accepted != total {
		t.Errorf("counters: %+v", c)
	}
}

func expectNothingLost(t *testing.T, s *watest.Service) {
	t.Helper()
	if err := s.WaitNothingLost(testContext(t)); err != nil {
		t.Errorf("lost: %+v\ncounters: %+v", s.Lost(), s.Counters())
	}
}

// sendPersistently sends under one id until the service has acknowledged it.
func sendPersistently(t *testing.T, s *watest.Service, c *client, to types.JID, text string) error {
	t.Helper()
	ctx := testContext(t)
	extra := whatsmeow.SendRequestExtra{ID: c.GenerateMessageID()}
	for {
		_, err := c.SendMessage(ctx, to, &waE2E.Message{Conversation: &text}, extra)
		if err == nil {
			return nil
		}
		if s.Wait(ctx, func() bool { return s.Device(*c.Store.ID).Active }) != nil {
			return err
		}
	}
}

func TestInMemory(t *testing.T) {
	s := new(watest.Service)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	alice := newPhone(t, s, "6281111111111", "Alice")
	c := openUnconfigured(t)
	watest.ConfigureHTTP(c.Client, s.HTTPClient())
	pair(t, c, alice)
	c.send(alice.PN(), "note to self")
	waitText(t, alice, "note to self")
	c.close()
}

func TestClosedService(t *testing.T) {
	s := new(watest.Service)
	alice := newPhone(t, s, "6281111111111", "Alice")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Listen("127.0.0.1:0"); err == nil {
		t.Error("a closed service listens")
	}
	if _, err := alice.SendText(testContext(t), alice.LID(), "?"); err == nil {
		t.Error("a closed service accepts messages")
	}
	if _, err := alice.WaitText(testContext(t), "?"); err == nil {
		t.Error("a closed service shows messages")
	}
	open := new(watest.Service)
	defer func() {
		if err := open.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := open.Listen("0.0.0.0:0"); err == nil {
		t.Error("listens to the world")
	}
}

// Phones encrypt and decrypt one at a time, so that among them nothing goes
// wrong however much is said at once.
func TestPhonesTalkAllAtOnce(t *testing.T) {
	s, _ := service(t)
	var phones []*watest.Phone
	for i := range 4 {
		phones = append(phones, newPhone(t, s, fmt.Sprintf("6281%07d", i), fmt.Sprintf("phone %d", i)))
	}
	group, err := phones[0].CreateGroup(testContext(t), phones[1].LID(), phones[2].PN(), phones[3].LID())
	if err != nil {
		t.Fatal(err)
	}
	chats := []types.JID{group, phones[0].PN(), phones[1].LID(), phones[2].PN(), phones[3].LID()}
	var work sync.WaitGroup
	for i, p := range phones {
		work.Go(func() {
			for n := range 50 {
				if _, err := p.SendText(testContext(t), chats[(n+i)%len(chats)], fmt.Sprintf("%d from phone %d", n, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	expectSound(t, s)
	if c := s.Counters(); c.RetryReceipts != 0 || c.Accepted != 200 {
		t.Errorf("counters: %+v", c)
	}
}
