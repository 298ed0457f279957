// Package model searches all behaviours of the ownership protocol within small
// bounds: every order of steps, every fault at every moment, every statement
// landing as late as it likes. DESIGN.md beside it says what is modelled and
// what is left out.
//
// The model is written against the code, one step a transaction, a statement
// that lands, or a commit of a local file. Each step names the rule of the
// project's DESIGN.md (O4, P4, L2 and so on) and the function it mirrors.
package model
