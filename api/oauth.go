package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// provider is the OAuth 2 token endpoint: the certified library behind
// net/http, which is a cold path, with a body that was read and bounded before.
//
// Tokens are the opaque ones of tokens; the library's JSON Web Tokens carry no
// scope and are not used, so its key set is empty.
type provider struct {
	oauth fasthttp.RequestHandler // set before the listener opens
}

const (
	tokenPath     = "/oauth2/token"
	discoveryPath = "/.well-known/openid-configuration"
	jwksPath      = "/oauth2/jwks"
	maxTokenBody  = 64 << 10
)

func (s *Server) tokenRoutes() {
	s.handle("POST", tokenPath, problems, s.postToken)
	s.handle("GET", discoveryPath, problems, s.getDiscovery)
	s.handle("GET", jwksPath, problems, func(ctx *fasthttp.RequestCtx) error {
		return writeJSON(ctx, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}})
	})
}

// startProvider builds the library's provider, which needs to know the issuer.
func (s *Server) startProvider() error {
	p, err := op.NewProvider(&op.Config{SupportedScopes: Scopes(), AuthMethodPost: true}, &opStorage{s: s}, op.StaticIssuer(s.URL()),
		op.WithAllowInsecure(), op.WithCrypto(opaque{}), op.WithCORSOptions(nil),
		op.WithCustomTokenEndpoint(op.NewEndpoint(tokenPath)), op.WithCustomKeysEndpoint(op.NewEndpoint(jwksPath)))
	if err != nil {
		return err
	}
	s.oauth = fasthttpadaptor.NewFastHTTPHandler(p)
	return nil
}

// oauthError is an error of RFC 6749 section 5.2.
func oauthError(ctx *fasthttp.RequestCtx, status int, code, description string) error {
	return writeJSON(ctx, status, map[string]string{"error": code, "error_description": description})
}

// postToken is the token endpoint (RFC 6749 section 4.4). Only the grant
// client_credentials is served.
func (s *Server) postToken(ctx *fasthttp.RequestCtx) error {
	if err := s.limited("token "+addressOf(ctx), s.limits.TokenRate, s.limits.TokenBurst); err != nil {
		return err
	}
	if ct, _, _ := strings.Cut(string(ctx.Request.Header.ContentType()), ";"); !strings.EqualFold(strings.TrimSpace(ct), "application/x-www-form-urlencoded") {
		return oauthError(ctx, http.StatusBadRequest, "invalid_request", "Content-Type must be application/x-www-form-urlencoded")
	}
	body, err := readBody(ctx, maxTokenBody)
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(ctx.URI().QueryString()) > 0 {
		return oauthError(ctx, http.StatusBadRequest, "invalid_request", "parameters belong in a form-encoded body")
	}
	for _, v := range form {
		if len(v) > 1 {
			return oauthError(ctx, http.StatusBadRequest, "invalid_request", "a parameter stands twice")
		}
	}
	switch form.Get("grant_type") {
	case "client_credentials":
	case "":
		return oauthError(ctx, http.StatusBadRequest, "invalid_request", "grant_type is missing")
	default:
		return oauthError(ctx, http.StatusBadRequest, "unsupported_grant_type", "only client_credentials is served")
	}
	// The library must not see the stream, whose body is read, nor an encoding.
	ctx.Request.Header.Del("Content-Encoding")
	ctx.Request.SetBody(body)
	s.oauth(ctx)
	switch ctx.Response.StatusCode() {
	case http.StatusOK:
		s.counts.tokenIssued.Inc()
		ctx.Response.Header.Set("Pragma", "no-cache")
	case http.StatusUnauthorized:
		s.counts.tokenRefused.Inc()
		ctx.Response.Header.Set("WWW-Authenticate", `Basic realm="holdfast", charset="UTF-8"`)
	}
	return nil
}

// getDiscovery says what is served (OpenID Connect Discovery 1.0, RFC 8414).
// The library's own document would announce routes that are not open.
func (s *Server) getDiscovery(ctx *fasthttp.RequestCtx) error {
	u := s.URL()
	return writeJSON(ctx, http.StatusOK, map[string]any{
		"issuer":                                u,
		"token_endpoint":                        u + tokenPath,
		"jwks_uri":                              u + jwksPath,
		"grant_types_supported":                 []string{"client_credentials"},
		"response_types_supported":              []string{},
		"scopes_supported":                      Scopes(),
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		"service_documentation":                 u + "/docs",
	})
}

// opaque takes the library's "id:subject" back to the id, which is the token.
type opaque struct{}

func (opaque) Encrypt(s string) (string, error) {
	id, _, _ := strings.Cut(s, ":")
	return id, nil
}

func (opaque) Decrypt(string) (string, error) { return "", errUnserved }

var errUnserved = errors.New("api: not served")

// opStorage is what the library needs for client credentials; every other
// method refuses, and none of the routes that would call it is open.
type opStorage struct{ s *Server }

// opClient is a ClientRecord in the library's form.
type opClient struct{ ClientRecord }

func (c opClient) GetID() string                     { return c.ID }
func (opClient) RedirectURIs() []string              { return nil }
func (opClient) PostLogoutRedirectURIs() []string    { return nil }
func (opClient) ApplicationType() op.ApplicationType { return op.ApplicationTypeWeb }
func (opClient) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodBasic }
func (opClient) ResponseTypes() []oidc.ResponseType  { return nil }
func (opClient) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeClientCredentials}
}
func (opClient) LoginURL(string) string              { return "" }
func (opClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeBearer }
func (opClient) IDTokenLifetime() time.Duration      { return 0 }
func (opClient) DevMode() bool                       { return false }
func (opClient) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return slices.Clone[[]string]
}
func (opClient) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return slices.Clone[[]string]
}
func (c opClient) IsScopeAllowed(scope string) bool   { return slices.Contains(c.Scopes, scope) }
func (opClient) IDTokenUserinfoClaimsAssertion() bool { return false }
func (opClient) ClockSkew() time.Duration             { return 0 }

// checkSecret compares in constant time with the stored SHA-256: a secret has
// 256 random bits, so a slow hash would add nothing.
func (c *ClientRecord) checkSecret(secret string) bool {
	want, err := hex.DecodeString(c.Secret)
	got := sha256.Sum256([]byte(secret))
	return err == nil && subtle.ConstantTimeCompare(got[:], want) == 1
}

// ClientCredentials implements op.ClientCredentialsStorage.
func (o *opStorage) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	var c ClientRecord
	err := errUnserved
	if id != "" && len(id) <= 128 && len(secret) <= 256 {
		err = getRecord(ctx, o.s.reg, KindClient, id, &c)
	}
	if err != nil && err != errUnserved && !isNotFound(err) {
		return nil, oidc.ErrServerError()
	}
	// The comparison is made for an unknown client too.
	if !c.checkSecret(secret) || err != nil || c.Disabled {
		return nil, oidc.ErrInvalidClient().WithDescription("client authentication failed")
	}
	return opClient{c}, nil
}

// tokenRequest is what a client asked for, checked.
type tokenRequest struct {
	client, org string
	scopes      []string
}

func (r *tokenRequest) GetSubject() string    { return r.client }
func (r *tokenRequest) GetAudience() []string { return nil }
func (r *tokenRequest) GetScopes() []string   { return r.scopes }

// ClientCredentialsTokenRequest implements op.ClientCredentialsStorage. Without
// a scope the client gets all that it has (RFC 6749 section 3.3).
func (o *opStorage) ClientCredentialsTokenRequest(ctx context.Context, id string, scopes []string) (op.TokenRequest, error) {
	var c ClientRecord
	if err := getRecord(ctx, o.s.reg, KindClient, id, &c); err != nil {
		return nil, oidc.ErrServerError()
	}
	scopes = slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return s == "" })
	if len(scopes) == 0 {
		scopes = slices.Clone(c.Scopes)
	}
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	for _, s := range scopes {
		if !slices.Contains(c.Scopes, s) {
			return nil, oidc.ErrInvalidScope().WithDescription("a scope is unknown or not this client's")
		}
	}
	return &tokenRequest{client: id, org: c.Org, scopes: scopes}, nil
}

// CreateAccessToken implements op.AuthStorage.
func (o *opStorage) CreateAccessToken(ctx context.Context, r op.TokenRequest) (string, time.Time, error) {
	t, ok := r.(*tokenRequest)
	if !ok {
		return "", time.Time{}, errUnserved
	}
	token, expires, err := o.s.tokens.issue(ctx, t.client, t.org, t.scopes, tokenLife)
	if err != nil {
		return "", time.Time{}, oidc.ErrServerError()
	}
	return token, expires, nil
}

// Health implements op.Storage.
func (o *opStorage) Health(context.Context) error { return nil }

// SignatureAlgorithms implements op.AuthStorage: nothing is signed.
func (o *opStorage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return nil, nil
}

// KeySet implements op.AuthStorage: it is empty.
func (o *opStorage) KeySet(context.Context) ([]op.Key, error) { return nil, nil }

// The rest of op.Storage belongs to flows that are not served.

func (o *opStorage) SigningKey(context.Context) (op.SigningKey, error) { return nil, errUnserved }
func (o *opStorage) CreateAuthRequest(context.Context, *oidc.AuthRequest, string) (op.AuthRequest, error) {
	return nil, errUnserved
}
func (o *opStorage) AuthRequestByID(context.Context, string) (op.AuthRequest, error) {
	return nil, errUnserved
}
func (o *opStorage) AuthRequestByCode(context.Context, string) (op.AuthRequest, error) {
	return nil, errUnserved
}
func (o *opStorage) SaveAuthCode(context.Context, string, string) error { return errUnserved }
func (o *opStorage) DeleteAuthRequest(context.Context, string) error    { return errUnserved }
func (o *opStorage) CreateAccessAndRefreshTokens(context.Context, op.TokenRequest, string) (string, string, time.Time, error) {
	return "", "", time.Time{}, errUnserved
}
func (o *opStorage) TokenRequestByRefreshToken(context.Context, string) (op.RefreshTokenRequest, error) {
	return nil, errUnserved
}
func (o *opStorage) TerminateSession(context.Context, string, string) error { return errUnserved }
func (o *opStorage) RevokeToken(context.Context, string, string, string) *oidc.Error {
	return oidc.ErrInvalidRequest()
}
func (o *opStorage) GetRefreshTokenInfo(context.Context, string, string) (string, string, error) {
	return "", "", op.ErrInvalidRefreshToken
}
func (o *opStorage) GetClientByClientID(context.Context, string) (op.Client, error) {
	return nil, errUnserved
}
func (o *opStorage) AuthorizeClientIDSecret(context.Context, string, string) error {
	return errUnserved
}
func (o *opStorage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return errUnserved
}
func (o *opStorage) SetUserinfoFromToken(context.Context, *oidc.UserInfo, string, string, string) error {
	return errUnserved
}
func (o *opStorage) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return errUnserved
}
func (o *opStorage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, errUnserved
}
func (o *opStorage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errUnserved
}
func (o *opStorage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, errUnserved
}
