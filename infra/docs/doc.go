// Package docs has no code: its tests hold README.md, README.id.md and the texts
// under docs/ against the programs, the template and the packages. What a text
// names has to exist; the database users it makes have to be enough; the
// transcripts marked "checked" are run. Every rule is a check that returns what it
// finds wrong, so that the tests can also show each rule a text that breaks it.
package docs
