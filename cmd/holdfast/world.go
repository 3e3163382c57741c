package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"holdfast/cmd/internal/sandbox"
)

// readWorld reads what `holdfast dev --world FILE` wrote.
func readWorld(name string) (*sandbox.World, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := private(f); err != nil {
		return nil, err
	}
	var w sandbox.World
	if json.NewDecoder(f).Decode(&w) != nil {
		return nil, fmt.Errorf("%s: not a world file", name)
	}
	return &w, nil
}

// worldMember finds a member of a world by MydexID; without one, the first.
func worldMember(w *sandbox.World, mydexid string) (*sandbox.Member, error) {
	for i := range w.Members {
		if mydexid == "" || strings.EqualFold(w.Members[i].MydexID, mydexid) {
			return &w.Members[i], nil
		}
	}
	return nil, errors.New("the world file has no such member")
}
