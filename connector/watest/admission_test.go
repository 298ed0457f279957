package watest_test

import (
	"testing"

	"go.mau.fi/whatsmeow/types/events"

	"cloudsession/connector/watest"
)

// A device's admissions follow each other: the first client comes back after a
// cut, and is then replaced by a second that came over another listener.
func TestAdmissions(t *testing.T) {
	s, addr := service(t)
	other, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	alice := newPhone(t, s, "6281111111111", "Alice")
	first := pairQR(t, addr, alice)
	device := *first.Store.ID
	first.Disconnect()
	waitFor(t, s, "client is away", func() bool { return s.Device(device).Sockets == 0 })
	first.forget()
	first.connect()
	second := open(t, other.String(), first.path)
	second.connect()
	await[*events.StreamReplaced](first, "word of the other login", nil)
	waitFor(t, s, "the second takes deliveries", func() bool { return s.Device(device).Active })

	list := s.Admissions(&device)
	if len(list) != 3 {
		t.Fatalf("%d admissions, want 3: %+v", len(list), list)
	}
	ends := []watest.AdmissionEnd{list[0].End, list[1].End, list[2].End}
	if ends[0] != watest.AdmissionClosed || ends[1] != watest.AdmissionReplaced || ends[2] != watest.AdmissionOpen {
		t.Errorf("ends: %q", ends)
	}
	if list[1].Via != addr || list[2].Via != other.String() {
		t.Errorf("came via %s and %s, want %s and %s", list[1].Via, list[2].Via, addr, other)
	}
	for i, a := range list[1:] {
		if a.From.Before(list[i].Until) || a.Active.IsZero() {
			t.Errorf("admission %+v does not follow %+v", a, list[i])
		}
	}
	gaps := s.Gaps(nil)
	if len(gaps) != 1 || !gaps[0].From.Equal(list[0].Until) || !gaps[0].Until.Equal(list[1].From) {
		t.Errorf("gaps: %+v, want the one between the first two of %+v", gaps, list)
	}
}
