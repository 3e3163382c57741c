package api

import (
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
	"time"
)

type Manager struct {
	Registry  Registry
	Catalogue *schema.Catalogue
	Env       seal.Env
	Now       func() time.Time
}

func (s *Server) manageRoutes() {}
func (s *Server) healthRoutes() {}
func (s *Server) docRoutes()    {}
