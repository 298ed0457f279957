package cloudstore

import "time"

// Connector is a row of connectors: one process, by its connector id.
type Connector struct {
	ID           string
	Incarnation  string // ULID of the process, new at every start
	Dead         bool
	LeaseUntil   time.Time // TiDB's clock
	RenewedSince time.Time // since when it renewed without a break
	QueueURL     string
	Version      string
	Capacity     int
	Sessions     int
	Draining     bool
	StartedAt    time.Time
	Live         bool // not dead and within its lease, by TiDB's clock; ignored when writing
}

// Load is what a connector reports with each renewal.
type Load struct {
	Capacity, Sessions int
	Draining           bool
}

// LeaseGrant is the answer to a renewal, in TiDB's clock.
type LeaseGrant struct {
	Now          time.Time
	LeaseUntil   time.Time
	RenewedSince time.Time
}
