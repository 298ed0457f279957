// Package chaos tries to break the system: several connector processes, each on
// a machine of its own with its own links to TiDB, SQS and the simulated
// WhatsApp service, hold a number of sessions that people talk with all the
// while, and a schedule made from a seed kills, freezes, cuts off, robs and
// confuses them. While it runs and at every quiet moment, when the faults are
// mended, it checks what DESIGN.md promises; see DESIGN.md beside this file for
// the list of invariants and faults.
//
// What a seed repeats is the schedule: which fault, where, when and for how
// long. The processes' own timing is not repeated, so a violation may need
// several runs of its seed to come back.
package chaos
