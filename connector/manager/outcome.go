package manager

import (
	"context"
	"errors"

	"cloudsession/connector/baileys"
	"cloudsession/connector/rekey"
	"cloudsession/connector/replicate"
	"cloudsession/connector/whatsapp"
	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
	"cloudsession/shared/sessionlog"
)

// outcomes says which code a failed command gets in its row; functions/api turns
// codes into statuses. The text is for operators reading the table, and names
// no internals.
var outcomes = []struct {
	err  error
	code string
	text string
}{
	{ErrNoSession, "session_not_found", "not found in the cloud"},
	{ErrNotOpen, "session_not_open", "not open on this connector"},
	{ErrFull, "no_capacity", "the connector is full"},
	{ErrDraining, "connector_draining", "the connector is draining"},
	{ErrNotLive, "connector_not_live", "the connector that was asked for does not run"},
	{ErrElsewhere, "owned_elsewhere", "held by another connector"},
	{replicate.ErrFenced, "owned_elsewhere", "held by another connector"},
	{replicate.ErrBackupOff, "backup_off", "backup is off for this session"},
	{whatsapp.ErrLoggedOut, "logged_out", "unlinked by the phone: pair it again"},
	{errContested, "contested", "another client uses the same keys"},
	{errBanned, "banned", "banned for a while: it connects again by itself"},
	{errRefused, "refused", "the service refuses the login"},
	{whatsapp.ErrOutdated, "outdated", "the service accepts only newer connectors"},
	{sessionlog.ErrWrongSecret, "wrong_secret", "sealed with another secret"},
	{envelope.ErrUnknownKey, "wrong_secret", "sealed with another secret"},
	{rekey.ErrOtherSecret, "wrong_secret", "the connector's SESSION_ENCRYPTION_SECRET is not the one to rekey to"},
	{rekey.ErrNoSecret, "wrong_secret", "none of the connector's secrets opens it"},
	{sessionlog.ErrMissing, "damaged", "the log in the cloud has a gap"},
	{sessionlog.ErrReordered, "damaged", "the log in the cloud is out of order"},
	{sessionlog.ErrRepeated, "damaged", "the log in the cloud repeats a row"},
	{sessionlog.ErrSwapped, "damaged", "the log in the cloud holds another session's row"},
	{sessionlog.ErrTampered, "damaged", "a row of the log in the cloud was changed"},
	{sessionlog.ErrNoBase, "damaged", "the log in the cloud has no complete base"},
	{sessionlog.ErrTwoSalts, "damaged", "the log in the cloud is mixed with another"},
	{sessionlog.ErrMalformed, "damaged", "a row of the log in the cloud is malformed"},
	{sessionlog.ErrRowVersion, "damaged", "a row of the log in the cloud was changed, or is of a newer connector's format"},
	{sessionlog.ErrPushVersion, "damaged", "a row of the log in the cloud is of a newer connector's format"},
	{envelope.ErrVersion, "damaged", "the credentials in the cloud were changed, or are of a newer connector's format"},
	{envelope.ErrLegacy, "wrong_secret", "the Node service sealed it with another secret, or its row is damaged"},
	{envelope.ErrOtherSession, "damaged", "the credentials in the cloud are another session's"},
	{envelope.ErrTampered, "damaged", "the credentials in the cloud were changed"},
	{envelope.ErrTruncated, "damaged", "the credentials in the cloud were cut short"},
	{envelope.ErrNotEnvelope, "damaged", "the credentials in the cloud were changed"},
	{envelope.ErrTooLarge, "damaged", "the credentials in the cloud were changed"},
	{envelope.ErrMalformed, "damaged", "the credentials in the cloud are malformed"},
	{baileys.ErrDamaged, "damaged", "the credentials are malformed"},
	{baileys.ErrUnpaired, "no_credentials", "never paired, or only half: pair it"},
	{errLogDamaged, "damaged", "the log in the cloud makes no sound session"},
}

// Codes of failures that are none of outcomes.
const (
	codeUnavailable = "unavailable"
	codeFailed      = "failed"
)

// outcomeOf gives an error the code and the text that go into the command's row.
func outcomeOf(err error) (code, text string) {
	if err == nil {
		return "", ""
	}
	for _, o := range outcomes {
		if errors.Is(err, o.err) {
			return o.code, o.text
		}
	}
	if cloudstore.IsUnavailable(err) || errors.Is(err, context.DeadlineExceeded) {
		return codeUnavailable, "the database could not be reached in time"
	}
	if errors.Is(err, errNoRoom) {
		return codeFailed, "the connector can't write to its disk"
	}
	return codeFailed, "the connector's log says why"
}
