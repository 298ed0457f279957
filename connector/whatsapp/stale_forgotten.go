//go:build !cloudsession_unsafe_restore

package whatsapp

// forgetsStaleState is what makes a safe start safe.
const forgetsStaleState = true
