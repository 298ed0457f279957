// Package template has no code: its tests hold template.yaml against the routes,
// the programs and their configuration. Every rule is a check that returns what
// it finds wrong, so that the tests can also show each rule a template that
// breaks it.
package template
