package api

import (
	"fmt"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// counts are the server's counters. No label holds anything of a person or a
// subscriber.
type counts struct {
	panics, limited, tokenRefused, tokenIssued *metrics.Counter
	unidentified                               *metrics.Counter
	rows, sections, refused                    *metrics.Counter
}

func (c *counts) register(set *metrics.Set) {
	c.panics = set.NewCounter("holdfast_panics_total")
	c.limited = set.NewCounter("holdfast_rate_limited_total")
	c.tokenRefused = set.NewCounter("holdfast_tokens_refused_total")
	c.tokenIssued = set.NewCounter("holdfast_tokens_issued_total")
	c.unidentified = set.NewCounter("holdfast_refused_unidentified_total")
	c.rows = set.NewCounter("holdfast_bulk_rows_total")
	c.sections = set.NewCounter("holdfast_bulk_sections_total")
	c.refused = set.NewCounter("holdfast_bulk_sections_refused_total")
}

// routeCounts counts one route's answers by the status's first digit.
type routeCounts struct {
	class [6]*metrics.Counter
	took  *metrics.Histogram
}

func (c *counts) route(set *metrics.Set, template string) *routeCounts {
	r := &routeCounts{took: set.GetOrCreateHistogram(fmt.Sprintf("holdfast_http_request_seconds{route=%q}", template))}
	for i := 1; i < len(r.class); i++ {
		r.class[i] = set.GetOrCreateCounter(fmt.Sprintf("holdfast_http_requests_total{route=%q,status=\"%dxx\"}", template, i))
	}
	return r
}

func (r *routeCounts) done(status int, took time.Duration) {
	if c := status / 100; c >= 1 && c < len(r.class) {
		r.class[c].Inc()
	}
	r.took.Update(took.Seconds())
}
