package watest_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store/sqlstore"
	"go.mau.fi/whatsmeow/types/events"
	waLog "go.mau.fi/whatsmeow/util/log"
	_ "modernc.org/sqlite"

	"cloudsession/connector/watest"
)

// A client pairs with Alice's phone by QR code and writes to Bob.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	whatsmeow.WACertPubKey = watest.TestRootKey // once in each process

	var service watest.Service
	defer func() { _ = service.Close() }()
	addr, err := service.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	alice, err := service.NewPhone("+62 811 1111 1111", "Alice")
	if err != nil {
		log.Fatal(err)
	}
	bob, err := service.NewPhone("+62 822 2222 2222", "Bob")
	if err != nil {
		log.Fatal(err)
	}

	db, err := sql.Open("sqlite", "file:example?mode=memory&cache=shared&_pragma=foreign_keys(1)")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	client, err := exampleClient(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	watest.Configure(client, addr.String())
	codes, connected := make(chan string, 1), make(chan struct{})
	client.AddEventHandler(func(event any) {
		switch e := event.(type) {
		case *events.QR:
			codes <- e.Codes[0]
		case *events.Connected:
			close(connected)
		}
	})
	if err := client.Connect(); err != nil {
		log.Fatal(err)
	}
	defer client.Disconnect()
	if _, err := alice.ScanQR(ctx, <-codes); err != nil {
		log.Fatal(err)
	}
	<-connected

	if _, err := client.SendMessage(ctx, bob.PN(), &waE2E.Message{Conversation: new("hello Bob")}); err != nil {
		log.Fatal(err)
	}
	received, err := bob.WaitText(ctx, "hello Bob")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", received.PushName, received.Text)
	fmt.Println("devices:", len(alice.Devices()), "keys reused:", service.Counters().KeysReused)
	// Output:
	// Alice: hello Bob
	// devices: 1 keys reused: 0
}

// exampleClient is a whatsmeow client over a database in memory.
func exampleClient(ctx context.Context, db *sql.DB) (*whatsmeow.Client, error) {
	db.SetMaxOpenConns(1)
	container := sqlstore.NewWithDB(db, "sqlite3", waLog.Noop)
	if err := container.Upgrade(ctx); err != nil {
		return nil, err
	}
	device, err := container.GetFirstDevice(ctx)
	if err != nil {
		return nil, err
	}
	return whatsmeow.NewClient(device, waLog.Noop), nil
}
