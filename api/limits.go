package api

import (
	"sync"
	"time"
)

// Limits bound what one request, client or address may ask for. Zero means the
// default, which is generous: limits are there to keep a node alive, not to
// meter.
type Limits struct {
	Body         int           // bytes of a JSON, XML or form body, as sent and expanded (16 MiB)
	BulkBody     int64         // bytes of a bulk body as sent (64 MiB)
	BulkExpanded int64         // bytes of a bulk body expanded (256 MiB)
	BulkRatio    int64         // expanded bytes for each byte sent, after the first 8 MiB (500)
	SectionRows  int           // rows of a section or of a published batch (20,000)
	SectionBytes int           // bytes of a section's lines (16 MiB)
	Sections     int           // sections of a bulk body (200,000)
	WaveSections int           // sections delivered together (2,048)
	WaveBytes    int           // bytes after which sections are delivered (4 MiB)
	Rate         float64       // requests a second of one client on the PDX (50,000)
	RateBurst    float64       // (100,000)
	ConnRate     float64       // dataset requests a second of one member's connection (20,000)
	ConnBurst    float64       // (40,000)
	TokenRate    float64       // token requests a second of one address (100)
	TokenBurst   float64       // (500)
	ReadTimeout  time.Duration // of a request with its body (30 s)
	WriteTimeout time.Duration // of an answer (120 s)
	IdleTimeout  time.Duration // between requests (120 s)
	BulkTimeout  time.Duration // without a byte of a bulk body (60 s)
	Request      time.Duration // for the members' part of a request (30 s)
	ConnsPerIP   int           // (1,024)
	Concurrency  int           // connections (16,384)
}

func (l Limits) withDefaults() Limits {
	def(&l.Body, 16<<20)
	def(&l.BulkBody, 64<<20)
	def(&l.BulkExpanded, 256<<20)
	def(&l.BulkRatio, 500)
	def(&l.SectionRows, 20_000)
	def(&l.SectionBytes, 16<<20)
	def(&l.Sections, 200_000)
	def(&l.WaveSections, 2048)
	def(&l.WaveBytes, 4<<20)
	def(&l.Rate, 50_000)
	def(&l.RateBurst, 100_000)
	def(&l.ConnRate, 20_000)
	def(&l.ConnBurst, 40_000)
	def(&l.TokenRate, 100)
	def(&l.TokenBurst, 500)
	def(&l.ReadTimeout, 30*time.Second)
	def(&l.WriteTimeout, 120*time.Second)
	def(&l.IdleTimeout, 120*time.Second)
	def(&l.BulkTimeout, 60*time.Second)
	def(&l.Request, 30*time.Second)
	def(&l.ConnsPerIP, 1024)
	def(&l.Concurrency, 16_384)
	return l
}

func def[T int | int64 | float64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// buckets are token buckets by name. A bucket that is full again is forgotten.
type buckets struct {
	now func() time.Time
	mu  sync.Mutex
	m   map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newBuckets(now func() time.Time) *buckets {
	return &buckets{now: now, m: map[string]*bucket{}}
}

// take asks for one token of the bucket called name. If there is none, wait
// says after how many whole seconds there will be.
func (b *buckets) take(name string, rate, burst float64) (wait int) {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.m[name]
	if k == nil {
		if len(b.m) >= 1<<14 {
			b.forget(now, rate, burst)
		}
		k = &bucket{tokens: burst, at: now}
		b.m[name] = k
	}
	if d := now.Sub(k.at); d > 0 {
		k.tokens = min(burst, k.tokens+d.Seconds()*rate)
		k.at = now
	}
	if k.tokens >= 1 {
		k.tokens--
		return 0
	}
	return int((1-k.tokens)/rate) + 1
}

// forget drops what has been idle for a minute; if that is not enough,
// everything, since an unbounded map is worse than a fresh burst.
func (b *buckets) forget(now time.Time, _, _ float64) {
	for n, k := range b.m {
		if now.Sub(k.at) > time.Minute {
			delete(b.m, n)
		}
	}
	if len(b.m) >= 1<<14 {
		clear(b.m)
	}
}

// limited returns the 429 to answer, or nil.
func (s *Server) limited(name string, rate, burst float64) error {
	if wait := s.rate.take(name, rate, burst); wait > 0 {
		s.counts.limited.Inc()
		p := *errTooManyCalls
		p.RetryAfter = wait
		return &p
	}
	return nil
}
