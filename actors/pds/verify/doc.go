// Package verify checks what a member carried away: an export, a receipt or
// an audit log. It needs no server, no network and no key of the cluster; it
// reads no clock and opens no file.
//
// # What a good report means
//
//   - Every byte of the file is as it was written: its last member is the
//     SHA-256 of all bytes before it. This finds accidents; who can rewrite
//     the file can rewrite that digest, so the rest does not rely on it.
//   - Journal records form one chain: none is missing, moved or altered
//     between the first and the last one in the file (pds.ChainNext).
//   - Every opened entry is the one that was committed to when it was written
//     (pds.Commit), and what is shown in words is what the entry says.
//   - Statements form one chain from the registration on, and each is signed
//     by the member's key (seal.Statement).
//   - Every approval commits to its document; the document names the template,
//     the choices and the text by hash; the text is rendered again from
//     template and choices and gives the same hash.
//   - An export's content is named by an entry of the journal itself.
//   - The chain's value stands in the cluster's transparency log: leaf =
//     HMAC-SHA256(leaf salt, chain value), a Merkle proof (RFC 6962) leads
//     from it to the root that the log's key signed (C2SP checkpoint).
//
// What could not be checked, because the file does not hold it or because no
// trusted key was given, is a note of the report, never silence.
//
// # Form
//
// All three kinds are one JSON object whose members stand in this order, one
// a line; an export may also be the same tree in XML:
//
//	format       "holdfast-export-1", "holdfast-receipt-1" or "holdfast-audit-1"
//	environment  "sandbox" or "live"
//	made         Unix seconds
//	member       Member
//	records      list of Record       (export)
//	counts       list of Count        (export)
//	agreements   list of Agreement    (export), one element in a receipt
//	journal      list of Entry
//	seal         Seal
//	sha256       of all bytes before this member, in hex
//
// Bytes are base64url without padding. Numbers of an XML file are text.
package verify

// Kinds of file.
const (
	FormatExport  = "holdfast-export-1"
	FormatReceipt = "holdfast-receipt-1"
	FormatAudit   = "holdfast-audit-1"
)
