package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"cloudsession/shared/command"
)

// sendAgain puts the message of a session's newest command on its connector's
// queue once more, under another attempt so that SQS does not drop it: at least
// once is all that a queue promises.
func (h *Harness) sendAgain(ctx context.Context, session string) (bool, error) {
	const newest = `SELECT command_id, kind, connector_id FROM commands WHERE session_id = ? ORDER BY created_at DESC LIMIT 1`
	m := command.Message{V: 1, SessionID: session, Attempt: int(h.queueCalls.Add(1)) + 1000}
	var connector sql.NullString
	err := h.db.QueryRowContext(ctx, newest, session).Scan(&m.CommandID, &m.Kind, &connector)
	if errors.Is(err, sql.ErrNoRows) || err == nil && connector.String == "" {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read newest command: %w", err)
	}
	queue, err := command.NewSQS(command.SQSConfig{Region: "local", Endpoint: h.rig.Stack.SQSEndpoint()})
	if err != nil {
		return false, fmt.Errorf("set up SQS: %w", err)
	}
	url, err := queue.Create(ctx, command.QueueName("cloudsession", connector.String))
	if err != nil {
		return false, nil //nolint:nilerr // SQS is made to refuse calls at times
	}
	return queue.Send(ctx, url, m) == nil, nil
}
