// Package api is Holdfast's HTTP contract: the published PDX routes, bulk
// delivery, the member's, the subscriber's and the operator's JSON routes, and
// the OAuth 2 token endpoint.
//
// It knows requests, callers, shapes and status codes. Whether an access is
// allowed is decided in actors; api only refuses what is wrong before a member
// is reached: no token, no scope, a connection of somebody else, a malformed
// body. Once a connection is identified, such a refusal is journalled before it
// is answered.
//
// # Errors
//
// Published PDX routes answer errors in the published shapes:
//
//	401 {"error":{"message":"Access denied","reason":"The token is invalid or expired"}}
//	400 {"success":0,"message":"malformed (row 2)"}
//	403 {"success":0,"message":"field not in agreement: ds_home.field_home_town"}
//
// and so for every other status. All other routes answer RFC 9457
// application/problem+json, with dataset, field and row where they are known.
// Both name rules and fields, never values or people.
//
// # Memory
//
// Nothing that fasthttp owns leaves a handler: bodies are read into buffers of
// our own, strings are copied. Member Keys are overwritten in those buffers, and
// in the query string and headers, as soon as they were parsed.
package api
