// Package interop checks this project against programs written by others: moto's
// SQS, cfn-lint. Its tests are behind the build tag interop:
//
//	go test -tags interop ./infra/interop/...
//
// A program that is missing fails the test, naming what to install.
package interop
