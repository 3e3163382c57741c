// Package arrows holds the test of the module's architecture: which package
// may import which, each rule with its reason. It has no code of its own.
package arrows
