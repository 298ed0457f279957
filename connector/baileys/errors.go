package baileys

import "errors"

// What can be wrong with credentials or with the file they go into or come from.
var (
	// ErrDamaged: the text isn't credentials, or a field has an impossible value.
	ErrDamaged = errors.New("credentials are damaged")
	// ErrUnpaired: an identity that was never paired. It can't log in.
	ErrUnpaired = errors.New("credentials were never paired")
	// ErrNoDevice: the session file has no device row.
	ErrNoDevice = errors.New("session file has no device")
	// ErrManyDevices: the session file has several device rows.
	ErrManyDevices = errors.New("session file has several devices")
	// ErrDeviceExists: the session file has a device already, which is not overwritten.
	ErrDeviceExists = errors.New("session file has a device already")
	// ErrNoCredentials: the folder has no creds.json.
	ErrNoCredentials = errors.New("folder has no creds.json")
	// ErrMismatch: the folder's files don't belong to one session.
	ErrMismatch = errors.New("files don't belong to one session")
	// ErrIncomplete: files are missing without which the state isn't exact.
	ErrIncomplete = errors.New("folder is not complete")
	// ErrInUse: the folder's files changed while they were read.
	ErrInUse = errors.New("folder is being written")
	// ErrNotEmpty: the folder to export to exists and holds something.
	ErrNotEmpty = errors.New("folder is not empty")
)
