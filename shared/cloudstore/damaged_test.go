package cloudstore_test

import (
	"testing"

	"cloudsession/shared/cloudstore"
)

// What a writer leaves when it dies is told from rows that went missing: the
// next push, or the seal, is sent only when all of the last one is durable.
func TestTakeTellsDamage(t *testing.T) {
	type row struct {
		seq         uint64
		kind        cloudstore.SegmentKind
		part, parts uint16
	}
	base, delta, seal := cloudstore.KindBase, cloudstore.KindDelta, cloudstore.KindSeal
	tests := []struct {
		name    string
		rows    []row
		damaged bool
	}{
		{"whole", []row{{1, base, 1, 1}, {2, delta, 1, 1}}, false},
		{"sealed", []row{{1, base, 1, 1}, {2, delta, 1, 1}, {3, seal, 1, 1}}, false},
		{"nothing", nil, false},
		{"first parts of a push", []row{{1, base, 1, 1}, {2, delta, 1, 3}, {3, delta, 2, 3}}, false},
		{"last parts of a push", []row{{1, base, 1, 1}, {3, delta, 2, 3}, {4, delta, 3, 3}}, false},
		{"outer parts of a push", []row{{1, base, 1, 1}, {2, delta, 1, 3}, {4, delta, 3, 3}}, false},
		{"last parts of the first push", []row{{2, base, 2, 3}, {3, base, 3, 3}}, false},
		{"head of a base", []row{{8, base, 2, 3}, {9, base, 3, 3}}, true},
		{"head of a base before the seal", []row{{8, base, 2, 3}, {9, base, 3, 3}, {10, seal, 1, 1}}, true},
		{"tail before the seal", []row{{1, base, 1, 1}, {3, seal, 1, 1}}, true},
		{"middle", []row{{1, base, 1, 1}, {2, delta, 1, 1}, {4, delta, 1, 1}, {5, delta, 1, 1}}, true},
		{"middle of a push that another follows", []row{{1, base, 1, 1}, {2, delta, 1, 3}, {4, delta, 3, 3}, {5, delta, 1, 1}}, true},
		{"head", []row{{2, delta, 1, 1}, {3, delta, 1, 1}}, true},
		{"everything but the seal", []row{{3, seal, 1, 1}}, true},
		{"before the last base", []row{{1, base, 1, 1}, {3, base, 1, 1}, {4, delta, 1, 1}}, false},
		{"rows of a late writer behind the seal", []row{{1, base, 1, 1}, {2, seal, 1, 1}, {3, delta, 1, 1}, {5, delta, 1, 1}}, false},
	}
	s, _ := migrated(t)
	register(t, s, "a")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			first := mustTake(t, s, test.name, "a")
			var segs []cloudstore.Segment
			for _, row := range test.rows {
				seg := segment(test.name, first.Epoch, row.seq, row.kind, "")
				seg.Part, seg.Parts = row.part, row.parts
				segs = append(segs, seg)
			}
			appendAll(t, s, segs...)
			p := mustTake(t, s, test.name, "a").Parent
			if p.Damaged != test.damaged {
				t.Errorf("damaged is %v, want %v (last %d)", p.Damaged, test.damaged, p.LastSeq)
			}
			if headless := len(segs) > 0 && segs[0].Seq > 1; headless && (p.Contiguous || p.LastSeq != 0) {
				t.Errorf("a log without head ends at %d, contiguous %v", p.LastSeq, p.Contiguous)
			}
		})
	}
}
