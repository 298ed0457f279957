//go:build cloudsession_unsafe_restore

package whatsapp

// forgetsStaleState is off in this build, which is for one experiment only: a
// restored session goes on with Signal state that others have left behind, loses
// messages without a word and uses message keys twice. package chaos builds it
// to show that it notices.
const forgetsStaleState = false
