// Package ownership keeps a connector's claim to its sessions: the lock on its
// data directory, its incarnation and lease in TiDB (rules O1 and O2 of the
// design), and the local memory of how far each session's log is known to have
// reached (the high-water mark that an exact start is judged against).
//
// Durations are measured on the boot-time clock, which goes on while a machine
// sleeps or a process is stopped; decisions between connectors are made on
// TiDB's clock alone. DESIGN.md beside this file states the lease as a state
// machine.
package ownership
