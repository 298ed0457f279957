package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

// readBody reads the request's body, whatever the route: nothing larger than
// MaxBody is ever held, and a broken body is the caller's mistake.
func readBody(w http.ResponseWriter, r *request) error {
	if r.Body == nil {
		return nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return bodyTooLarge
	}
	if err != nil {
		return badBody
	}
	r.body = body
	return nil
}

// decodeBody decodes an optional JSON object strictly into v: no unknown
// fields, nothing after it. An empty body and null leave v as it is.
func decodeBody(r *request, v any) error {
	body := bytes.TrimSpace(r.body)
	if len(body) == 0 {
		return nil
	}
	if ct := r.Header.Get("Content-Type"); ct != "" {
		media, params, err := mime.ParseMediaType(ct)
		charset, given := params["charset"]
		if err != nil || media != "application/json" || given && !strings.EqualFold(charset, "utf-8") {
			return badMedia
		}
	}
	if !utf8.Valid(body) || body[0] != '{' && string(body) != "null" {
		return badBody
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return bodyProblem(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badBody
	}
	return nil
}

// bodyProblem names the unknown field, which encoding/json tells only in its text.
func bodyProblem(err error) *problem {
	field, ok := strings.CutPrefix(err.Error(), "json: unknown field ")
	if ok && len(field) <= 64 {
		return badBody.saying("The body has a field this route does not know: " + field)
	}
	return badBody
}
