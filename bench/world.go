package bench

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// World is what `holdfast dev --world` writes, as far as a benchmark needs it.
type World struct {
	PDX           string `json:"pdx"`
	OP            string `json:"op"`
	Operator      string `json:"operator"`       // operator listener; OP if empty
	OperatorToken string `json:"operator_token"` // bearer for it; may be empty

	Subscribers []Subscriber `json:"subscribers"`
}

// Subscriber is one organisation of a World.
type Subscriber struct {
	Name         string `json:"name"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Connections  []struct {
		NID json.Number `json:"nid"`
	} `json:"connections"`
}

// Account is one member's connection to the subscriber that delivers.
type Account struct {
	Number int    // from the ref, "m0000012" is 12
	UID    string // the member's
	ConID  string
	Key    string // Member Key
}

// Withholds says whether the member does not grant Kind.Withheld for reading:
// every fourth does not.
func (a *Account) Withholds() bool { return a.Number%4 == 0 }

func readWorld(path string) (*World, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	w := new(World)
	if err := json.Unmarshal(b, w); err != nil {
		return nil, errors.New("world file is not the JSON expected") // the cause could quote a secret
	}
	if w.PDX == "" {
		return nil, errors.New("world file names no pdx URL")
	}
	if w.OP == "" {
		w.OP = w.PDX
	}
	if w.Operator == "" {
		w.Operator = w.OP
	}
	return w, nil
}

// subscriber finds the organisation that the generated members are connected to.
func (w *World) subscriber(name string) (*Subscriber, error) {
	for i := range w.Subscribers {
		if w.Subscribers[i].Name == name {
			return &w.Subscribers[i], nil
		}
	}
	return nil, fmt.Errorf("world has no subscriber %q", name)
}

// readAccounts reads a keys file, NDJSON of {"ref","uid","con_id","key"}, keeping
// the generated members ("m" and digits) of the subscriber's connections, in the
// order of their numbers.
func readAccounts(path string, s *Subscriber) ([]Account, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []Account
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		var l struct {
			Ref   string      `json:"ref"`
			UID   json.Number `json:"uid"` // a string or a number
			ConID string      `json:"con_id"`
			Key   string      `json:"key"`
		}
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return nil, errors.New("keys file: a line is not the JSON expected")
		}
		digits, ok := strings.CutPrefix(l.Ref, "m")
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || !s.owns(l.ConID) {
			continue
		}
		out = append(out, Account{Number: n, UID: l.UID.String(), ConID: l.ConID, Key: l.Key})
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("keys file: %w", err)
	}
	slices.SortFunc(out, func(a, b Account) int { return cmp.Compare(a.Number, b.Number) })
	for i := 1; i < len(out); i++ {
		if out[i].Number == out[i-1].Number {
			return nil, errors.New("keys file: two agreements for one generated member")
		}
	}
	return out, nil
}

func (s *Subscriber) owns(conID string) bool {
	if len(s.Connections) == 0 {
		return true
	}
	_, nid, _ := strings.Cut(conID, "-")
	for _, c := range s.Connections {
		if c.NID.String() == nid {
			return true
		}
	}
	return false
}
