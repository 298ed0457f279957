// Package threatmodel has no code: its test holds docs/threat-model.md against the
// tests that it names.
package threatmodel
