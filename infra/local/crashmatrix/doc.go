// Package crashmatrix holds a test: for every statement that an operation of a
// connector sends to TiDB, the statement fails, or takes effect and its answer
// is lost; then the connector crashes, or goes on by itself. Afterwards a fresh
// connector, with an empty disk or with the crashed one's, must end in the right
// state. What is right, and what is not looked at, says README.md beside this file.
package crashmatrix
