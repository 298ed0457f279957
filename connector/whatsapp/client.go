package whatsapp

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/store"
)

func (s *Session) newClient() {
	nameDevice(cmp.Or(s.cfg.DeviceName, "Cloud Session Sync"))
	log := s.adapter("Client")
	log.complained = s.complained
	cli := whatsmeow.NewClient(s.device, log)
	http := s.cfg.Endpoint.httpClient()
	cli.SetPreLoginHTTPClient(http)
	cli.SetWebsocketHTTPClient(http)
	cli.SetMediaHTTPClient(http)
	// W3: nothing is acknowledged before it is stored, what was decrypted once can be read again, and what was sent can
	// be sent again after a restart.
	cli.SynchronousAck = true
	cli.EnableDecryptedEventBuffer = true
	cli.UseRetryMessageStore = true
	// With SynchronousAck whatsmeow asks the phone at once for what it can't decrypt, whatever this says; it would only
	// add a second way that runs after the acknowledgement.
	cli.AutomaticMessageRerequestFromPhone = false
	cli.ManualHistorySyncDownload = true
	cli.DisableManualHistorySyncReceipt = true
	// run.go connects again, after asking whether it may.
	cli.EnableAutoReconnect = false
	cli.DisableLoginAutoReconnect = true
	// Without one, a refusal with code 413 or 414 would call a nil function.
	cli.RefreshCAT = func(context.Context) error { return errors.New("this is no Messenger session") }
	cli.PreRetryCallback = s.answering
	// Answers take their turns anyway; beside each other they only wait, and after a lost connection fail, in a crowd.
	cli.SetMaxParallelRetryReceiptHandling(1)
	cli.BackgroundEventCtx = s.ctx
	cli.AddEventHandlerWithSuccessStatus(s.handle)
	s.cli = cli
}

// nameDevice sets the name under which new devices are linked. whatsmeow keeps it in a variable of the process.
var nameDevice = func() func(string) {
	var once sync.Once
	return func(name string) {
		once.Do(func() { store.DeviceProps.Os = &name })
	}
}()

func (s *Session) adapter(module string) *logAdapter {
	return &logAdapter{log: s.log, module: module, raw: s.cfg.Debug}
}
