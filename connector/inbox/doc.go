// Package inbox keeps a session's messages for the application: what came in, without duplicates, and what is to be
// sent, with its message ids.
//
// What came in is delivered to the application (see package webhook): Undelivered says what is still to be delivered,
// MarkDelivered notes what was, so that the session's next owner knows.
//
// The tables live in the session's own SQLite file, so that they are captured and replicated with everything else:
// a message shown once isn't new again after the session was restored on another machine, and a send whose outcome
// nobody knows is repeated there under the same id. Records are kept for 14 days (Retention), of messages
// that were delivered the newest 64 MiB; the promise that a message is shown exactly once holds for as long. What is
// not delivered yet, or not sent, is kept for longer.
package inbox
