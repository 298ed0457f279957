// Package whatsapp runs one live session: an unmodified whatsmeow client over one session file.
//
// What it adds is what keeps a session from losing messages. Its rules have numbers (W1 to W6, A3, O6, O8), which
// the project's DESIGN.md explains; the files here name the ones they keep:
//
//   - guard.go: whatsmeow's store, wrapped. Rows survive a logout (W4); a storage error while decrypting stops the
//     acknowledgement (W2); a ratchet is only moved from where it stands (W1; ratchet.go, turn.go).
//   - receive.go: a message is in the inbox (W3), and in TiDB (A1), before it is acknowledged.
//   - send.go: a message keeps its id until the service has taken it (A3).
//   - run.go: connecting again, with a backoff on every path, and the end of a session (section 8's events, O8).
//   - safe.go: the start of a session whose Signal state may be stale (section 7).
//   - pair.go: linking a new device.
//
// whatsmeow's own reconnecting is off, because each attempt has to ask first whether this process still owns the
// session. Presence is never sent: the phone goes on getting its notifications.
package whatsapp
