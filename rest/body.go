package rest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/argosy-go/argosy/fault"
)

// maxDepth bounds the nesting of a JSON body.
const maxDepth = 100

// keepBuffer is the largest buffer that goes back to the pool.
const keepBuffer = 64 << 10

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= keepBuffer {
		b.Reset()
		buffers.Put(b)
	}
}

const (
	jsonType   = "application/json"
	mergeType  = "application/merge-patch+json"
	ndjsonType = "application/x-ndjson"
	sseType    = "text/event-stream"
)

// checkType refuses a body that is not of the media type want, or that is compressed.
func checkType(w http.ResponseWriter, r *http.Request, want string) error {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		w.Header().Set("Accept-Encoding", "identity")
		return fault.New(codes.InvalidArgument, fault.ReasonMediaType, "the body is compressed with %q; send it as it is", clip(e))
	}
	ct := r.Header.Get("Content-Type")
	if ct == want {
		return nil
	}
	mt, params, err := mime.ParseMediaType(ct)
	ok := err == nil && (mt == want || want == jsonType && mt == mergeType && r.Method == http.MethodPatch)
	if cs := params["charset"]; ok && cs != "" && !strings.EqualFold(cs, "utf-8") {
		ok = false
	}
	if ok {
		return nil
	}
	w.Header().Set("Accept", want)
	if ct == "" {
		return fault.New(codes.InvalidArgument, fault.ReasonMediaType, "the body has no Content-Type; send it as %s", want)
	}
	return fault.New(codes.InvalidArgument, fault.ReasonMediaType, "the body is %q; send it as %s", clip(ct), want)
}

// hasBody reports whether the request carries at least one byte of a body. It
// may have to read that byte: the body that it returns begins with it.
func hasBody(r *http.Request) (io.Reader, bool, error) {
	if r.ContentLength >= 0 {
		return r.Body, r.ContentLength > 0, nil
	}
	var first [1]byte
	switch _, err := io.ReadFull(r.Body, first[:]); {
	case errors.Is(err, io.EOF):
		return r.Body, false, nil
	case err != nil:
		return nil, false, readError(err, 0)
	}
	return io.MultiReader(bytes.NewReader(first[:]), r.Body), true, nil
}

// readBody reads a whole body into buf.
func readBody(w http.ResponseWriter, body io.Reader, buf *bytes.Buffer, most int64) error {
	limited := http.MaxBytesReader(w, io.NopCloser(body), most)
	if _, err := buf.ReadFrom(limited); err != nil {
		return readError(err, most)
	}
	return nil
}

func readError(err error, most int64) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return errTooLarge(most)
	}
	return fault.New(codes.InvalidArgument, "INCOMPLETE_BODY", "the body ended before its time").Wrap(err)
}

func errTooLarge(most int64) error {
	return fault.New(codes.ResourceExhausted, fault.ReasonTooLarge, "the body is larger than %d bytes", most)
}

// decodeBody reads the JSON of a body into the message, or into the field of it
// that the route names. No body at all is an empty one.
func (rt *route) decodeBody(msg protoreflect.Message, data []byte, allowUnknown bool) error {
	if len(data) == 0 {
		return nil
	}
	if rt.bodyAll {
		return decodeJSON(data, msg.Interface(), "", allowUnknown)
	}
	name := rt.body.JSONName()
	if rt.body.Message() != nil && !rt.body.IsList() && !rt.body.IsMap() {
		if err := decodeJSON(data, msg.Mutable(rt.body).Message().Interface(), name, allowUnknown); err != nil {
			return err
		}
		return rt.fillMask(msg, data)
	}
	// A list, a map or a scalar is no message: it is read as the only field of one.
	if !json.Valid(data) {
		return fault.Invalid(name, "is not valid JSON")
	}
	wrapped := make([]byte, 0, len(data)+len(name)+8)
	wrapped = strconv.AppendQuote(append(wrapped, '{'), name)
	wrapped = append(append(append(wrapped, ':'), data...), '}')
	return decodeJSON(wrapped, msg.Interface(), "", allowUnknown)
}

// decodeJSON reads one JSON value into m. The errors name the field, below
// prefix, and repeat nothing of the values.
func decodeJSON(data []byte, m proto.Message, prefix string, allowUnknown bool) error {
	err := protojson.UnmarshalOptions{DiscardUnknown: allowUnknown, RecursionLimit: maxDepth}.Unmarshal(data, m)
	if err == nil {
		return checkSyntax(data, prefix)
	}
	what, line, column := explain(err)
	field := cmp.Or(prefix, "body")
	switch {
	case line > 0:
		field = below(prefix, data, offsetOf(data, line, column))
	case what == cutOff:
		field = below(prefix, data, len(data))
	}
	return fault.Invalid(field, "%s", what).Wrap(err)
}

// checkSyntax refuses what protojson takes though it is not JSON: a number
// without the digits of its exponent, as 1e.
func checkSyntax(data []byte, prefix string) error {
	if json.Valid(data) {
		return nil
	}
	at, err := len(data), json.Unmarshal(data, new(json.RawMessage))
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = int(s.Offset) - 1 // it counts the byte that is wrong
	}
	return fault.Invalid(below(prefix, data, at), "is not JSON").Wrap(err)
}

// below returns the path of what is at an offset, below a prefix.
func below(prefix string, data []byte, at int) string {
	path := locate(data, at)
	if prefix != "" && path != "" && path[0] != '[' {
		prefix += "."
	}
	return cmp.Or(prefix+path, "body")
}

// cutOff is said of JSON that ends too early; protojson does not say where.
const cutOff = "is cut off"

// reasons says in our words what protojson says in words that it changes on
// purpose and that may repeat a secret value. The first match counts.
var reasons = []struct{ in, out string }{
	{"unknown field", "unknown field"},
	{"duplicate field", "is given twice"},
	{"duplicate map key", "is given twice"},
	{"is already set", "excludes another field that is set too"},
	{"recursion depth", fmt.Sprintf("is nested deeper than %d levels", maxDepth)},
	{"invalid UTF-8", "is not valid UTF-8"},
	{"invalid value for bool", "is not true or false"},
	{"invalid value for enum", "is not a value of its enum"},
	{"invalid value for string", "is not a string"},
	{"invalid value for bytes", "is not base64"},
	{"invalid value for int32", "is not a number of kind int32"},
	{"invalid value for sint32", "is not a number of kind int32"},
	{"invalid value for sfixed32", "is not a number of kind int32"},
	{"invalid value for uint32", "is not a number of kind uint32"},
	{"invalid value for fixed32", "is not a number of kind uint32"},
	{"invalid value for int64", "is not a number of kind int64"},
	{"invalid value for sint64", "is not a number of kind int64"},
	{"invalid value for sfixed64", "is not a number of kind int64"},
	{"invalid value for uint64", "is not a number of kind uint64"},
	{"invalid value for fixed64", "is not a number of kind uint64"},
	{"invalid value for float", "is not a number"},
	{"invalid value for double", "is not a number"},
	{"Timestamp value", `is not a time, as "2006-01-02T15:04:05Z"`},
	{"Duration value", `is not a duration in seconds, as "1.5s"`},
	{"FieldMask", "is not a field mask"},
	{"unable to resolve", "has a type that is not known"},
	{"required field", "lacks a required field"},
	{"unexpected EOF", cutOff},
}

// explain turns an error of protojson into words for the caller and a position,
// which is zero where the error has none.
func explain(err error) (what string, line, column int) {
	text := err.Error()
	if _, after, ok := strings.Cut(text, "(line "); ok {
		pos, rest, _ := strings.Cut(after, ")")
		l, c, _ := strings.Cut(pos, ":")
		line, _ = strconv.Atoi(l)
		column, _ = strconv.Atoi(c)
		text = text[:strings.Index(text, "(line ")] + rest
	}
	// What is quoted came from the caller and must not be taken for a reason.
	head := text
	if i := strings.IndexByte(head, '"'); i >= 0 && !strings.Contains(head, "is already set") {
		head = head[:i]
	}
	for _, r := range reasons {
		if strings.Contains(head, r.in) {
			return r.out, line, column
		}
	}
	if line > 0 {
		return fmt.Sprintf("is not the JSON expected here (line %d, column %d)", line, column), line, column
	}
	return "is not the JSON expected here", 0, 0
}

// offsetOf returns the byte at a line and a column, both counted from one, the
// column in characters.
func offsetOf(data []byte, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			return len(data)
		}
		at += i + 1
	}
	for ; column > 1 && at < len(data); column-- {
		_, n := utf8.DecodeRune(data[at:])
		at += n
	}
	return at
}

// locate returns the path of the JSON value, or of the key, at an offset, as in
// "lines[2].quantity". The data need not be valid after the offset.
func locate(data []byte, offset int) string {
	type level struct {
		key     string
		index   int
		isArray bool
		wantKey bool
	}
	var levels []level
	for i := 0; i <= offset && i < len(data); i++ {
		top := len(levels) - 1
		switch data[i] {
		case '{':
			if i < offset {
				levels = append(levels, level{wantKey: true})
			}
		case '[':
			if i < offset {
				levels = append(levels, level{isArray: true})
			}
		case '}', ']':
			if top >= 0 && i < offset {
				levels = levels[:top]
			}
		case ',':
			if top >= 0 && i < offset {
				levels[top].index++
				levels[top].key, levels[top].wantKey = "", !levels[top].isArray
			}
		case '"':
			end := stringEnd(data, i)
			if top >= 0 && levels[top].wantKey {
				var key string
				if json.Unmarshal(data[i:end], &key) != nil {
					key = ""
				}
				levels[top].key, levels[top].wantKey = clip(key), false
			}
			i = end - 1
		}
	}
	var b strings.Builder
	for _, l := range levels {
		switch {
		case b.Len() > 256:
			return b.String() + "…"
		case l.isArray:
			fmt.Fprintf(&b, "[%d]", l.index)
		case l.key != "":
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(l.key)
		}
	}
	return b.String()
}

// stringEnd returns the index after the closing quote of the string that opens
// at start, or len(b) when there is none.
func stringEnd(b []byte, start int) int {
	for i := start + 1; ; {
		q := bytes.IndexByte(b[i:], '"')
		if q < 0 {
			return len(b)
		}
		i += q
		slashes := 0
		for b[i-1-slashes] == '\\' {
			slashes++
		}
		i++
		if slashes%2 == 0 {
			return i
		}
	}
}
