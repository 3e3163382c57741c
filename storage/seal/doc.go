// Package seal holds all of Holdfast's cryptography: secrets, derivation,
// envelopes, statements and the passphrase rules. It imports nothing of ours
// and compiles for the browser.
package seal
