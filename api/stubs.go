package api

import (
	"holdfast/actors/pds/schema"
	"holdfast/storage/seal"
	"time"
)

const bulkPath = "/pdx/v1/bulk"

type dataset struct{}
type provider struct{}
type tokens struct{}
type Manager struct {
	Registry  Registry
	Catalogue *schema.Catalogue
	Env       seal.Env
	Now       func() time.Time
}

func newTokens(Registry, seal.Env, func() time.Time) *tokens    { return &tokens{} }
func datasets(c *schema.Catalogue) map[*schema.Dataset]*dataset { return nil }
func (s *Server) datasetRoutes()                                {}
func (s *Server) bulkRoutes()                                   {}
func (s *Server) tokenRoutes()                                  {}
func (s *Server) manageRoutes()                                 {}
func (s *Server) healthRoutes()                                 {}
func (s *Server) docRoutes()                                    {}
func (s *Server) startProvider() error                          { return nil }
func (s *Server) sweepTokens()                                  {}
func decodeStrict(b []byte, v any) error                        { return nil }
