package pds

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"holdfast/actors/pds/schema"
)

// Text is an agreement as a member is shown it before signing, in plain
// English sentences, one a line. It is a pure function: the client shows it
// and signs its SHA-256 in AgreementDoc.Text, and the server renders it again
// and refuses a document whose hash differs. Parts stand in the template's
// order; parts of the choices that the template does not offer are left out
// (Compile refuses them). Words of the subscriber are shown on one line, in
// quotation marks and without control or direction characters, so that they
// cannot pass for sentences of the agreement itself.
//
// A change of any sentence here changes every hash signed from then on: the
// first line carries the number of the wording.
func Text(t *Template, c *Choices, cat *schema.Catalogue) string {
	w := &textWriter{}
	w.line("Data Sharing and Services Agreement (wording 1)")
	w.line("Connection %d, version %d: %s", t.NID, t.Version, quoted(t.Name))
	w.line("Between you, the member, and %s, the subscriber.", quoted(t.Subscriber))
	w.line("This is a contract under %s.", plain(t.Law))
	if t.Environment == "sandbox" {
		w.line("It is made in the sandbox: use test data only, no real personal data.")
	} else {
		w.line("It is made in the live service.")
	}
	w.line("Purpose: %s", quoted(t.Purpose))
	if t.Roles != "" {
		w.line("Roles under data protection law: %s", quoted(t.Roles))
	}
	w.uses(t, c)
	for i := range t.Datasets {
		w.dataset(&t.Datasets[i], c, cat)
	}
	if len(t.Features) > 0 {
		names := make([]string, len(t.Features))
		for i, f := range t.Features {
			names[i] = quoted(f)
		}
		w.head("Feature Blocks")
		w.line("Included: %s.", strings.Join(names, ", "))
	}
	w.head("What the subscriber declares")
	for _, g := range Confirmations {
		if t.Gdpr[g] {
			w.line("- %s: confirmed.", words(g))
		}
	}
	w.line("Declared by %s on %s under version %s of the terms for subscribers.", quoted(t.DeclaredBy), day(t.DeclaredAt), quoted(t.TermsVersion))
	w.head("How long")
	if t.Retention != "" {
		w.line("Retention: %s", quoted(t.Retention))
	}
	if t.NotAfterDays > 0 {
		w.line("The agreement ends by itself %d days after you approve it.", t.NotAfterDays)
	} else {
		w.line("The agreement holds until you revoke it.")
	}
	w.line("You may change the optional parts, suspend or revoke at any time. Revoking takes effect at once and asks the subscriber to forget your data.")
	return w.String()
}

type textWriter struct{ strings.Builder }

func (w *textWriter) line(format string, args ...any) {
	fmt.Fprintf(w, format, args...)
	w.WriteByte('\n')
}

func (w *textWriter) head(title string) {
	w.WriteByte('\n')
	w.WriteString(title)
	w.WriteByte('\n')
}

func (w *textWriter) uses(t *Template, c *Choices) {
	w.head("What your data may be used for")
	for _, u := range t.UseCases {
		switch {
		case u.Mandatory:
			w.line("- %s: yes, this is required.", words(u.Category))
		case slices.Contains(c.UseCases, u.Category):
			w.line("- %s: yes, you allow it.", words(u.Category))
		default:
			w.line("- %s: no, you do not allow it.", words(u.Category))
		}
	}
}

func (w *textWriter) dataset(td *TemplateData, c *Choices, cat *schema.Catalogue) {
	ds, known := cat.Dataset(td.Dataset)
	title := plain(td.Dataset)
	if known {
		title = fmt.Sprintf("%s (%s)", plain(ds.Display), plain(ds.Name))
	}
	w.head("Data: " + title)
	inst := c.Instances[td.Dataset]
	if len(inst) == 0 {
		inst = []uint32{0}
	}
	numbers := make([]string, len(inst))
	for i, n := range inst {
		numbers[i] = fmt.Sprint(n)
	}
	if len(inst) == 1 {
		w.line("Only instance %s of it. Instances you add later are not shared.", numbers[0])
	} else {
		w.line("Only instances %s of it. Instances you add later are not shared.", strings.Join(numbers, ", "))
	}
	for _, tf := range td.Fields {
		name := plain(tf.Field)
		if known {
			if f, ok := ds.Field(tf.Field); ok {
				name = fmt.Sprintf("%s (%s)", plain(f.Display), plain(f.Name))
			}
		}
		may := methodWords(td.Methods, tf.Methods)
		switch {
		case tf.Mandatory:
			w.line("- %s: the subscriber may %s it. This is required.", name, may)
		case slices.Contains(c.Fields[td.Dataset], tf.Field):
			w.line("- %s: the subscriber may %s it. You allow it.", name, may)
		default:
			w.line("- %s: not shared. You do not allow it.", name)
		}
	}
	if slices.Contains(td.Methods, "delete") {
		if td.SoftDelete {
			w.line("A record that the subscriber deletes is hidden and you can bring it back.")
		} else {
			w.line("A record that the subscriber deletes may be erased for good.")
		}
	}
	if td.Notify {
		w.line("The subscriber is told when a record here changes, without its content.")
	}
}

// methodWords names the methods of a field: its dataset's, cut down to its
// own list if it has one.
func methodWords(dataset, own []string) string {
	var on []string
	for _, m := range [...]string{"read", "create", "update", "delete"} {
		if slices.Contains(dataset, m) && (len(own) == 0 || slices.Contains(own, m)) {
			on = append(on, m)
		}
	}
	switch n := len(on); n {
	case 0:
		return "not access"
	case 1:
		return on[0]
	default:
		return strings.Join(on[:n-1], ", ") + " and " + on[n-1]
	}
}

// words turns "marketing_third_parties" into "Marketing third parties".
func words(s string) string {
	s = plain(strings.ReplaceAll(s, "_", " "))
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// quoted is plain in quotation marks, which are taken out of s itself.
func quoted(s string) string {
	return "\u201c" + strings.NewReplacer("\u201c", "'", "\u201d", "'").Replace(plain(s)) + "\u201d"
}

// plain puts s on one line: white space becomes single spaces; control,
// format (among them direction overrides and zero-width characters) and
// private characters go.
func plain(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\ufffd")), " ")
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co) || r == '\u2028' || r == '\u2029' {
			return -1
		}
		return r
	}, s)
}

func day(unix int64) string { return time.Unix(unix, 0).UTC().Format("2 January 2006") }
