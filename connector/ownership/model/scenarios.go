package model

// Scenario is a search with its bounds.
type Scenario struct {
	Name   string
	Bounds Bounds
	Large  Bounds // explored instead when MODEL_SIZE=large
}

// small is what the scenarios vary: two connectors, three epochs, one message.
func small(change func(*Bounds)) Bounds {
	b := Bounds{
		Procs: 2, Epochs: 3, Seqs: 4, Acts: 1, BaseParts: 1, DeltaParts: 1,
		Budget: Budget{Faults: 1},
	}
	change(&b)
	return b
}

// Scenarios are what is explored to show that the rules hold. Each allows every
// order of steps, every delay of every statement, and faults of any kind up to
// its budget; they differ in what else there is.
var Scenarios = []Scenario{
	{
		"failover and handoff",
		small(func(b *Bounds) { b.Acts, b.Faults = 2, 2 }),
		small(func(b *Bounds) { b.Acts, b.Faults = 2, 3 }),
	},
	{
		"three connectors",
		small(func(b *Bounds) { b.Procs, b.Acts = 3, 2 }),
		small(func(b *Bounds) { b.Procs, b.Acts, b.Faults = 3, 2, 2 }),
	},
	{
		"pushes of two parts, and a schema that changes",
		small(func(b *Bounds) { b.Acts, b.Seqs, b.BaseParts, b.DeltaParts, b.Upgrades = 2, 6, 2, 2, 1 }),
		small(func(b *Bounds) {
			b.Acts, b.Seqs, b.BaseParts, b.DeltaParts, b.Upgrades, b.Faults = 1, 6, 2, 2, 1, 2
		}),
	},
	{
		"compaction and pruning",
		small(func(b *Bounds) { b.Seqs, b.Prunes, b.Compactions = 5, 1, 1 }),
		small(func(b *Bounds) { b.Seqs, b.Prunes, b.Compactions, b.BaseParts, b.Acts = 6, 1, 1, 2, 2 }),
	},
	{
		"DELETE and a new backup",
		small(func(b *Bounds) { b.Deletes, b.Faults = 1, 2 }),
		small(func(b *Bounds) { b.Deletes, b.Faults, b.Acts = 1, 2, 2 }),
	},
	{
		"old disks and unclean boots",
		small(func(b *Bounds) { b.Copies, b.Reboots = 1, true }),
		small(func(b *Bounds) { b.Copies, b.Reboots, b.Faults = 1, true, 2 }),
	},
	{
		"one machine with old disks and unclean boots",
		small(func(b *Bounds) { b.Procs, b.Copies, b.Reboots, b.Faults = 1, 1, true, 2 }),
		small(func(b *Bounds) { b.Procs, b.Copies, b.Reboots, b.Faults = 1, 1, true, 3 }),
	},
	{
		"a database from a backup",
		small(func(b *Bounds) { b.DB = true }),
		small(func(b *Bounds) { b.DB, b.Faults = true, 2 }),
	},
	{
		"one machine and a database from an unmarked backup",
		small(func(b *Bounds) { b.DB, b.Procs, b.Acts, b.Faults = true, 1, 2, 2 }),
		small(func(b *Bounds) { b.DB, b.Procs, b.Acts, b.Faults, b.Epochs = true, 1, 2, 3, 4 }),
	},
	{
		"a data directory copied to another machine, both running",
		small(func(b *Bounds) { b.Clone, b.Copies, b.Faults, b.Epochs = true, 1, 0, 2 }),
		small(func(b *Bounds) { b.Clone, b.Copies, b.Faults, b.Acts = true, 1, 0, 2 }),
	},
}
