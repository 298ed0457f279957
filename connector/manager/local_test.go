package manager

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"cloudsession/connector/control"
	"cloudsession/connector/whatsapp"
)

// A message that may be on its way is never told like one that is not.
func TestOutcomeOfASend(t *testing.T) {
	for _, test := range []struct {
		err     error
		outcome string
		status  int
	}{
		{&whatsapp.UnfinishedError{ID: "A", Err: whatsapp.ErrStopped}, control.OutcomePending, http.StatusGatewayTimeout},
		{fmt.Errorf("send: %w", &whatsapp.UnfinishedError{ID: "A", Err: ErrClosing}), control.OutcomePending, http.StatusGatewayTimeout},
		{&whatsapp.UncertainError{ID: "A", Err: whatsapp.ErrRejected}, control.OutcomeUnknown, http.StatusBadGateway},
		{fmt.Errorf("send message: %w", whatsapp.ErrRejected), "", http.StatusInternalServerError},
		{whatsapp.ErrBadAddress, "", http.StatusBadRequest},
	} {
		err := withOutcome(test.err)
		outcome := ""
		if e, ok := errors.AsType[*control.SendError](err); ok {
			outcome = e.Outcome
		}
		if status := (Local{}).Status(err); outcome != test.outcome || status != test.status || err.Error() != test.err.Error() {
			t.Errorf("%v: outcome %q, status %d", err, outcome, status)
		}
	}
}
