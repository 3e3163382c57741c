package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// Secrets never come from an argument, which every process on the machine can
// read, nor from the environment. They come from a prompt without echo, from a
// file, or as a line of standard input ("-").

// maxSecret bounds a line that holds a secret, in bytes.
const maxSecret = 32 << 10

// stdinLines hands out standard input line by line, so that two secrets can
// follow one another there.
var stdinLines struct {
	sync.Mutex
	r *bufio.Reader
}

// readSecret returns the first line of file, of standard input for "-", or,
// without a file, what is typed at the prompt.
func readSecret(file, prompt string) (string, error) {
	switch file {
	case "":
		return promptSecret(prompt)
	case "-":
		return stdinLine()
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := private(f); err != nil {
		return "", err
	}
	return firstLine(bufio.NewReader(io.LimitReader(f, maxSecret+2)))
}

// private refuses a file of secrets that others may read.
func private(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Mode().IsRegular() && st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s can be read by others: chmod 600 it first", f.Name())
	}
	return nil
}

func stdinLine() (string, error) {
	stdinLines.Lock()
	defer stdinLines.Unlock()
	if stdinLines.r == nil {
		stdinLines.r = bufio.NewReader(os.Stdin)
	}
	return firstLine(stdinLines.r)
}

func firstLine(r *bufio.Reader) (string, error) {
	s, err := r.ReadString('\n')
	s = strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r")
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return "", err
	case s == "":
		return "", errors.New("an empty line where a secret was expected")
	case len(s) > maxSecret:
		return "", errors.New("the line with the secret is too long")
	}
	return s, nil
}

func promptSecret(prompt string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("%s: there is no terminal to ask; give a file, or - for standard input", strings.ToLower(prompt))
	}
	defer tty.Close()
	fmt.Fprintf(tty, "%s: ", prompt)
	b, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	if err != nil {
		return "", err
	}
	if len(b) == 0 {
		return "", errors.New("nothing was typed")
	}
	return string(b), nil
}

// writePrivate writes a file that only its owner reads, whole or not at all.
func writePrivate(name string, b []byte) error {
	tmp := name + ".part"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = f.Chmod(0o600)
	if err == nil {
		_, err = f.Write(b)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		_ = os.Remove(tmp)
	}
	return err
}
