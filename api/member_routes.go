package api

// memberRoutes registers the member's routes.
func (s *Server) memberRoutes() {}
