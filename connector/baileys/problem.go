package baileys

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Problem is one reason why a folder can't be imported. Its text names no key
// and no secret; a file's name may hold a phone number.
type Problem struct {
	File  string // the file's name in the folder
	Field string // the path of the field in it, "" for the whole file
	Text  string // what is wrong with it
}

// String is one sentence without a full stop.
func (p Problem) String() string {
	if p.Field == "" {
		return p.File + " " + p.Text
	}
	return p.File + ": " + p.Field + " " + p.Text
}

// FolderError says why a folder can't be imported. errors.Is tells ErrDamaged,
// ErrUnpaired, ErrMismatch, ErrIncomplete and ErrNoCredentials apart.
type FolderError struct {
	Problems []Problem // at least one
	kinds    []error
}

// Error names the first problem, and how many more there are.
func (e *FolderError) Error() string {
	text := e.Problems[0].String()
	if more := len(e.Problems) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// Unwrap returns the kinds of problems there are.
func (e *FolderError) Unwrap() []error { return e.kinds }

// problems collects what is wrong with a folder.
type problems struct {
	list  []Problem
	kinds []error
}

func (p *problems) add(kind error, file, field, format string, args ...any) {
	p.list = append(p.list, Problem{file, field, fmt.Sprintf(format, args...)})
	for _, k := range p.kinds {
		if errors.Is(k, kind) {
			return
		}
	}
	p.kinds = append(p.kinds, kind)
}

// addError notes what a file's reader returned.
func (p *problems) addError(file string, err error) {
	if err == nil {
		return
	}
	if f, ok := errors.AsType[*fieldError](err); ok {
		p.add(ErrDamaged, file, f.field, "%s", f.text)
		return
	}
	p.add(ErrDamaged, file, "", "can't be used: %v", err)
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &FolderError{p.list, p.kinds}
}

// fieldError is what is wrong with a field of a file or of a record.
type fieldError struct {
	field, text string
}

func (e *fieldError) Error() string {
	if e.field == "" {
		return e.text
	}
	return e.field + " " + e.text
}

// Is makes every fieldError an ErrDamaged.
func (e *fieldError) Is(target error) bool { return target == ErrDamaged }

func badField(field, format string, args ...any) error {
	return &fieldError{field, fmt.Sprintf(format, args...)}
}

// in puts the name of the surrounding field before the one that err names.
func in(field string, err error) error {
	if f, ok := errors.AsType[*fieldError](err); ok {
		return &fieldError{strings.TrimSuffix(field+"."+f.field, "."), f.text}
	}
	return err
}

// decode parses one JSON value. Its errors quote nothing from the text.
func decode(data []byte, value any) error {
	d := json.NewDecoder(strings.NewReader(string(data)))
	err := d.Decode(value)
	if err == nil {
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return badField("", "has something after its JSON value")
		}
		return nil
	}
	if f, ok := errors.AsType[*fieldError](err); ok {
		return f
	}
	var wrongType *json.UnmarshalTypeError
	var corrupt base64.CorruptInputError
	switch {
	case len(data) == 0:
		return badField("", "is empty")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return badField("", "ends in the middle: it was not written completely")
	case errors.As(err, &wrongType):
		return badField(wrongType.Field, "has the wrong type or is out of range")
	case errors.Is(err, ErrDamaged), errors.As(err, &corrupt):
		return badField("", "holds bytes that are neither a Buffer nor base64")
	}
	return badField("", "is not JSON")
}
