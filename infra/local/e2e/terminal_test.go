package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"rsc.io/qr"
	"rsc.io/qr/coding"
)

// What `connector pair` shows a person, who has no use for JSON.

// terminal runs `connector pair`; out is what the person sees.
func (s *scene) terminal(c *rigConnector, args ...string) (out *bufio.Reader, wait func() error) {
	s.t.Helper()
	cmd := c.Command(s.ctx, append([]string{"pair", s.session}, args...)...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	pipe, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	return bufio.NewReader(pipe), func() error {
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%w: %s", err, errOut.String())
		}
		return nil
	}
}

func TestPairAtTheTerminal(t *testing.T) {
	s := newScene(t)
	c := s.connector("c", "LOG_LEVEL=debug")
	out, wait := s.terminal(c)
	line, err := out.ReadString('\n')
	s.must(err)
	if !strings.HasPrefix(line, "Scan this in WhatsApp") {
		t.Errorf("pair begins with %q", line)
	}
	shown, err := readQR(out)
	s.must(err)
	_, err = s.owner.ScanQR(s.ctx, shown)
	s.must(err)
	rest, err := io.ReadAll(out)
	s.must(err)
	s.must(wait())
	if !strings.HasSuffix(string(rest), s.session+" is linked\n") {
		t.Errorf("pair ends with %q", rest)
	}
	s.talk(c)
	code := shown[strings.LastIndex(shown, "#")+1:] // with an address before it or not
	for part := range strings.SplitSeq(code, ",") {
		if len(part) > 4 && strings.Contains(c.Logs(), part) {
			t.Errorf("%q of the QR code is in the log", part)
		}
	}

	// It is linked: there is nothing to show, and the reason is told.
	out, wait = s.terminal(c)
	rest, err = io.ReadAll(out)
	s.must(err)
	if err := wait(); err == nil || !strings.Contains(err.Error(), "already linked") || len(rest) > 0 {
		t.Errorf("pairing again: %v, shows %q", err, rest)
	}
	s.nothingLost(c)
}

func TestPairByCodeAtTheTerminal(t *testing.T) {
	s := newScene(t)
	c := s.connector("c", "LOG_LEVEL=debug")
	out, wait := s.terminal(c, "--code", "+"+s.owner.PN().User)
	line, err := out.ReadString('\n')
	s.must(err)
	text, code, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "): ")
	if !strings.HasPrefix(text, "Type this code into the phone") {
		t.Errorf("pair --code begins with %q", line)
	}
	_, err = s.owner.EnterCode(s.ctx, code)
	s.must(err)
	rest, err := io.ReadAll(out)
	s.must(errors.Join(err, wait()))
	if string(rest) != s.session+" is linked\n" {
		t.Errorf("pair --code ends with %q", rest)
	}
	if strings.Contains(c.Logs(), code) {
		t.Error("the pairing code is in the log")
	}
	s.talk(c)
	s.nothingLost(c)
}

// readQR is a phone's camera: it reads the code that the next lines draw in half
// blocks, with a margin of four.
func readQR(in *bufio.Reader) (string, error) {
	var rows [][]rune
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("read code: %w", err)
		}
		rows = append(rows, []rune(strings.TrimSuffix(line, "\n")))
		if 2*len(rows) >= len(rows[0]) {
			break
		}
	}
	const margin = 4
	size := len(rows[0]) - 2*margin
	black := func(x, y int) bool {
		drawn := rows[(y+margin)/2][x+margin]
		return drawn == ' ' || y%2 == 0 && drawn == '▄' || y%2 == 1 && drawn == '▀'
	}
	return decodeQR(size, black)
}

// decodeQR reads a code of the encoder's form: bytes, level L, mask 0. That it drew
// nothing else is checked.
func decodeQR(size int, black func(x, y int) bool) (string, error) {
	plan, err := coding.NewPlan(coding.Version((size-17)/4), coding.L, 0)
	if err != nil {
		return "", err
	}
	data := make([]byte, plan.DataBytes)
	for y, row := range plan.Pixel {
		for x, pixel := range row {
			if pixel.Role() == coding.Data && black(x, y) != (pixel&coding.Black != 0) {
				data[pixel.Offset()/8] |= 1 << (7 - pixel.Offset()%8)
			}
		}
	}
	// Four bits say that bytes follow, then comes their number.
	half := func(i int) int { return int(data[i/2]>>(4-i%2*4)) & 15 }
	length, at := half(1)<<4|half(2), 3
	if plan.Version > 9 {
		length, at = length<<8|half(3)<<4|half(4), 5
	}
	text := make([]byte, 0, length)
	for i := at; len(text) < length && i/2+1 < len(data); i += 2 {
		text = append(text, byte(half(i)<<4|half(i+1)))
	}
	want, err := qr.Encode(string(text), qr.L)
	if err != nil {
		return "", err
	}
	for y := range size {
		for x := range size {
			if want.Size != size || want.Black(x, y) != black(x, y) {
				return "", fmt.Errorf("no QR code: %d×%d, off at %d, %d", size, size, x, y)
			}
		}
	}
	return string(text), nil
}
