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
)
