// Package replicate keeps the copy of a session in TiDB current, and builds a session file from it again.
//
// A [Replicator] pushes: each attached [Session] watches one session file, seals what changed since
// its last push and hands it to one of the replicator's writer lanes, which put the rows of many
// sessions into one statement. [Restore] goes the other way: it reads the log of a session, verifies
// it, and writes a new file. [JudgeExact] and [CanResumeOwnFile] decide, inside the transaction that
// takes a session, how its next term may start.
//
// DESIGN.md beside this file states the order in which things are written and what may be lost when
// a step fails; P1 to P8, L1 to L3 and O4 to O7 in comments are rules of the system's design.
package replicate
