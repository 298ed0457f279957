package replicate

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"cloudsession/shared/cloudstore"
	"cloudsession/shared/envelope"
)

// clouds are what benchmarks run on: the real engine, and a store that answers in 5 ms.
var clouds = []struct {
	name string
	open func(b *testing.B) cloud
}{
	{"tidb", func(b *testing.B) cloud { return newTiDB(b) }},
	{"5ms", func(*testing.B) cloud { return slowMemory{newMemory()} }},
}

// slowMemory answers writes after 5 ms.
type slowMemory struct{ *memory }

func (s slowMemory) AppendSegments(ctx context.Context, segs []cloudstore.Segment) ([]cloudstore.Outcome, error) {
	time.Sleep(5 * time.Millisecond)
	return s.memory.AppendSegments(ctx, segs)
}

// defaults are the settings of production.
func defaults(o *Options) {
	*o = Options{Credentials: o.Credentials, Log: o.Log}
}

// message changes what a steady text in a chat of two changes: the session, a message secret.
func (l *live) message(i int) {
	l.bulk(900, 0)
	_, err := l.file.DB().ExecContext(l.ctx(), `INSERT INTO whatsmeow_message_secrets (our_jid, chat_jid, sender_jid, message_id, key)
		SELECT jid, 'chat', 'sender', ?, randomblob(32) FROM whatsmeow_device`, fmt.Sprint("bench", i))
	l.must(err)
}

// BenchmarkPushLatency: 100 sessions change once a second each; from commit to durable, coalescing
// included. One op is one change.
func BenchmarkPushLatency(b *testing.B) {
	for _, c := range clouds {
		b.Run(c.name, func(b *testing.B) {
			const sessions = 100
			g := newRig(b, c.open(b), defaults)
			all := make([]*live, sessions)
			for i := range all {
				all[i] = g.pair(fmt.Sprint("bench", i), uint64(i))
			}
			for _, l := range all {
				l.flush()
			}
			rounds := max(b.N/sessions, 2)
			b.ResetTimer()
			var mu sync.Mutex
			var took []time.Duration
			var wg sync.WaitGroup
			for i, l := range all {
				wg.Go(func() {
					time.Sleep(time.Duration(i) * time.Second / sessions)
					for round := range rounds {
						begin := time.Now()
						l.message(round)
						pushes := l.repl.Status().Pushes
						for l.repl.Status().Pushes == pushes {
							time.Sleep(2 * time.Millisecond)
						}
						mu.Lock()
						took = append(took, time.Since(begin))
						mu.Unlock()
						time.Sleep(time.Until(begin.Add(time.Second)))
					}
				})
			}
			wg.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
		})
	}
}

// BenchmarkWaitDurable: one session's messages one after the other, each acknowledged once it is
// durable (A1), and the messages of 100 sessions side by side.
func BenchmarkWaitDurable(b *testing.B) {
	for _, c := range clouds {
		for _, sessions := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/sessions=%d", c.name, sessions), func(b *testing.B) {
				g := newRig(b, c.open(b), defaults)
				all := make([]*live, sessions)
				for i := range all {
					all[i] = g.pair(fmt.Sprint("bench", i), uint64(i))
				}
				for _, l := range all {
					l.flush()
				}
				var wg sync.WaitGroup
				b.ResetTimer()
				for i, l := range all {
					wg.Go(func() {
						for n := i; n < b.N; n += sessions {
							l.message(n)
							g.must(l.repl.WaitDurable(b.Context()))
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

// BenchmarkBytesPerChange: what a steady text costs, by the size of the session.
func BenchmarkBytesPerChange(b *testing.B) {
	for _, size := range []int{0, 1 << 20, 10 << 20} {
		b.Run(fmt.Sprintf("session=%dMB", size>>20), func(b *testing.B) {
			g := newRig(b, newMemory(), slowly)
			l := g.pair("bench", 1)
			l.bulk(size, 1)
			g.must(l.repl.Rebase(g.limit(), true))
			before := l.repl.Status()
			b.ResetTimer()
			for n := range b.N {
				l.message(n)
				g.must(l.repl.WaitDurable(b.Context()))
			}
			after := l.repl.Status()
			b.ReportMetric(float64(after.PushedBytes-before.PushedBytes)/float64(b.N), "pushed-B/op")
		})
	}
}

// BenchmarkRestore: a session of so many bytes from the real engine, keys derived ahead or not.
func BenchmarkRestore(b *testing.B) {
	for _, size := range []int{1 << 20, 4 << 20, 16 << 20} {
		for _, ahead := range []bool{true, false} {
			b.Run(fmt.Sprintf("size=%dMB/derived=%v", size>>20, ahead), func(b *testing.B) {
				g := newRig(b, newTiDB(b), slowly)
				l := g.pair("bench", 1)
				l.bulk(size, 1)
				g.must(l.repl.Rebase(g.limit(), true))
				for n := range 100 {
					l.message(n)
					g.must(l.repl.WaitDurable(g.limit()))
				}
				taken := g.take(l.id, false, func(cloudstore.Parent) string { return StartSafe })
				dir := b.TempDir()
				n := 0
				for b.Loop() {
					if n++; !ahead {
						b.StopTimer()
						g.freshKeys()
						g.keys.Derive("another session", envelope.NewSalt()) // with what is derived once for a secret
						b.StartTimer()
					}
					if _, err := Restore(b.Context(), g.store, g.keys, taken, filepath.Join(dir, fmt.Sprint(n))); err != nil {
						b.Fatal(err)
					}
				}
				b.SetBytes(int64(size))
			})
		}
	}
}
