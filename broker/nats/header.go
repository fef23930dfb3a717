package nats

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

const hexDigits = "0123456789ABCDEF"

// escape makes a header value that the protocol carries unchanged: control
// characters, the percent sign and blanks at the ends are percent-encoded.
func escape(s string) string {
	if clean(s) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		edge := c == ' ' && (i == 0 || i == len(s)-1)
		if c < ' ' || c == 0x7f || c == '%' || edge {
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func clean(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f || c == '%' {
			return false
		}
	}
	return s == strings.Trim(s, " ")
}

// unescape is the inverse of escape. What is no escape stays as it is.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// validName reports whether s is a name of a header of ours: the protocol's own
// have upper case letters.
func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != ""
}

// maxName is what the server accepts as a name of a consumer, with some room.
const maxName = 200

// short returns s, or the hash of one that is too long. No name that is not
// hashed has "_h" in it.
func short(s string) string {
	if len(s) <= maxName {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "_h" + hex.EncodeToString(sum[:])
}

func sorted(numbers []int) []int { return slices.Sorted(slices.Values(numbers)) }

// distinct reports whether numbers are partitions, each of them once.
func distinct(numbers []int) bool {
	s := sorted(numbers)
	return len(s) > 0 && s[0] >= 0 && len(slices.Compact(s)) == len(numbers)
}
