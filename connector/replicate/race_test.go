//go:build race

package replicate

// stride thins out the matrices under the race detector: SQLite in Go is some twenty times slower
// there, and what it looks for doesn't depend on which call fails. The Makefile runs all of them
// without it too (WHOLE).
const stride = 31
