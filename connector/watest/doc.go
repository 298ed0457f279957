// Package watest is a simulated WhatsApp service for tests and demonstrations:
// unmodified whatsmeow and Baileys clients pair with it, log in and talk.
//
// It is a real server, not a recording. Clients run the Noise handshake
// against a test root key, show a QR code or a pairing code that a [Phone]
// reads, reconnect after 515, upload prekeys, and exchange Signal-encrypted
// 1:1 and group messages with the phones and with each other, under LIDs or
// phone numbers. Each account has one phone, which is held by the simulation
// and is a full Signal participant, and any number of linked devices. What a
// device misses waits for it; what can't be decrypted is asked for and sent
// again; a second login replaces the first; an unlinked device is refused.
//
// # Connecting
//
// A [Service] is ready as its zero value. [Service.Listen] serves TCP on
// loopback, for clients in other processes; [Service.HTTPClient] reaches it
// without a network. A client needs two things: the three HTTP clients of
// whatsmeow, which [Configure] sets, and whatsmeow.WACertPubKey set to
// [TestRootKey], once in each process. That variable is global to the process,
// so all services share the root key; its private half is in the source of
// this package.
//
// # What is counted
//
// [Service.Counters] sums up what matters to somebody who restores sessions:
// messages accepted, confirmed, decrypted and shown by the phones, shown
// twice, silently dropped; logins, replacements, and the most sockets one
// device had at once; and message keys that were used for two different
// messages, which the service recognizes on the wire ([Service.Reuses]).
// [Service.Lost] names the messages that were accepted and never shown.
// [Service.Admissions] says who was a device when, and [Service.Gaps] when
// nobody was.
// The service can't see what the application behind a linked device shows;
// tests tell it with [Service.ReportShown].
//
// # Faults
//
// [Service.Faults] loses, holds back and cuts, withholds copies of messages,
// refuses logins, leaves connects unanswered, sends stream errors and lets a
// device have two sockets, for one device or all of them, while everything runs.
// A delay is a gate that the test opens, not a time.
//
// # What it leaves out
//
// Media, history sync, calls, presence, communities, newsletters and app state
// (every collection is empty, at version 0). A request it doesn't know is
// answered with error 501. It trusts its clients and keeps everything in
// memory, for ever: it is no service for anybody's real messages.
package watest
