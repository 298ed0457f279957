package api

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"cloudsession/shared/cloudstore"
)

// maxConnectorID is the size in bytes of the longest connector id that can be asked for.
const maxConnectorID = 255

// liveOwner returns the connector that has the session open, or nil.
func (h *Handler) liveOwner(r *request) (*cloudstore.Connector, error) {
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	owner, err := h.commands.Owner(ctx, r.sessionID)
	if errors.Is(err, cloudstore.ErrNotFound) || err == nil && owner.ConnectorID == "" {
		return nil, nil //nolint:nilnil // no owner is an answer here, not a failure
	}
	if err != nil {
		return nil, err
	}
	all, err := h.commands.Connectors(ctx)
	if err != nil {
		return nil, err
	}
	return find(live(all), owner.ConnectorID), nil
}

// restorer returns the connector that acts first on a restore: the live owner,
// who reloads the session or hands it to the one asked for; without one the
// connector asked for; without either the least loaded.
func (h *Handler) restorer(r *request, order restoreOrder) (cloudstore.Connector, error) {
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	all, err := h.commands.Connectors(ctx)
	if err != nil {
		return cloudstore.Connector{}, err
	}
	owner, err := h.commands.Owner(ctx, r.sessionID)
	if err != nil && !errors.Is(err, cloudstore.ErrNotFound) {
		return cloudstore.Connector{}, err
	}
	return chooseRestorer(all, owner.ConnectorID, order.Connector)
}

func chooseRestorer(all []cloudstore.Connector, ownerID string, asked *string) (cloudstore.Connector, error) {
	candidates := live(all)
	owner := find(candidates, ownerID)
	if asked != nil {
		target := find(candidates, *asked)
		switch {
		case target == nil:
			return cloudstore.Connector{}, connectorNotLive
		case owner != nil && owner.ID == target.ID:
			return *owner, nil
		case target.Draining:
			return cloudstore.Connector{}, connectorLeaving
		case full(*target):
			return cloudstore.Connector{}, noCapacity
		case owner == nil:
			return *target, nil
		}
	}
	// A draining owner still acts first: it is the one that can let go.
	if owner != nil {
		return *owner, nil
	}
	return leastLoaded(candidates)
}

func leastLoaded(candidates []cloudstore.Connector) (cloudstore.Connector, error) {
	candidates = slices.DeleteFunc(candidates, func(c cloudstore.Connector) bool { return c.Draining })
	if len(candidates) == 0 {
		return cloudstore.Connector{}, noConnector
	}
	candidates = slices.DeleteFunc(candidates, full)
	if len(candidates) == 0 {
		return cloudstore.Connector{}, noCapacity
	}
	return slices.MinFunc(candidates, func(a, b cloudstore.Connector) int {
		return cmp.Or(cmp.Compare(load(a), load(b)), cmp.Compare(a.Sessions, b.Sessions), cmp.Compare(a.ID, b.ID))
	}), nil
}

// load is the share of a connector's capacity in use. No capacity means no limit.
func load(c cloudstore.Connector) float64 {
	if c.Capacity <= 0 {
		return 0
	}
	return float64(c.Sessions) / float64(c.Capacity)
}

func full(c cloudstore.Connector) bool { return c.Capacity > 0 && c.Sessions >= c.Capacity }

func live(all []cloudstore.Connector) []cloudstore.Connector {
	var out []cloudstore.Connector
	for _, c := range all {
		if c.Live && !c.Dead {
			out = append(out, c)
		}
	}
	return out
}

func find(in []cloudstore.Connector, id string) *cloudstore.Connector {
	i := slices.IndexFunc(in, func(c cloudstore.Connector) bool { return c.ID == id })
	if i < 0 || id == "" {
		return nil
	}
	return &in[i]
}
