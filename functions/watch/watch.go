// Package watch looks at what the connectors report and says it as metrics. The
// connectors can't: one that is dead reports nothing.
package watch

import (
	"context"
	"fmt"
	"time"

	"cloudsession/functions/emf"
	"cloudsession/shared/cloudstore"
)

// timeout leaves room for a database that wakes up, within the function's own.
const timeout = 8 * time.Second

// Store is what is watched; *cloudstore.Store is one.
type Store interface {
	Vitals(ctx context.Context) (cloudstore.Vitals, error)
}

// New returns a function that looks once. An error means that nothing was said:
// the alarms take that for bad news.
func New(store Store, metrics *emf.Writer) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		v, err := store.Vitals(ctx)
		if err != nil {
			return fmt.Errorf("watch connectors: %w", err)
		}
		return metrics.Put(time.Now(), metricsOf(v))
	}
}

func metricsOf(v cloudstore.Vitals) []emf.Metric {
	return []emf.Metric{
		{Name: "StaleConnectors", Unit: emf.Count, Value: float64(v.StaleConnectors)},
		{Name: "SyncLag", Unit: emf.Seconds, Value: v.SyncLag.Seconds()},
		{Name: "LiveConnectors", Unit: emf.Count, Value: float64(v.LiveConnectors)},
		{Name: "SessionsOpen", Unit: emf.Count, Value: float64(v.SessionsOpen)},
		{Name: "SessionsWithoutOwner", Unit: emf.Count, Value: float64(v.SessionsWithoutOwner)},
		{Name: "CommandsOverdue", Unit: emf.Count, Value: float64(v.CommandsOverdue)},
	}
}
