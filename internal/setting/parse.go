package setting

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

var errKind = errors.New("a setting is a string, bool, int, int64, uint, float64 or time.Duration")

// parse reads text as a value of type t. An empty text is the zero value.
func parse(text string, t reflect.Type) (reflect.Value, error) {
	v := reflect.New(t).Elem()
	if t == reflect.TypeFor[time.Duration]() {
		if text == "" {
			return v, nil
		}
		d, err := time.ParseDuration(text)
		v.SetInt(int64(d))
		return v, err
	}
	switch t.Kind() {
	case reflect.String:
		v.SetString(text)
		return v, nil
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint, reflect.Float64:
		if text == "" {
			return v, nil
		}
	default:
		return v, fmt.Errorf("%w, not %s", errKind, t)
	}
	var err error
	switch t.Kind() {
	case reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(text)
		v.SetBool(b)
	case reflect.Uint:
		var n uint64
		n, err = strconv.ParseUint(text, 10, 64)
		v.SetUint(n)
	case reflect.Float64:
		var n float64
		n, err = strconv.ParseFloat(text, 64)
		v.SetFloat(n)
	default:
		var n int64
		n, err = strconv.ParseInt(text, 10, 64)
		v.SetInt(n)
	}
	if num, ok := errors.AsType[*strconv.NumError](err); ok {
		err = num.Err
	}
	return v, err
}

// kindName names a type for people.
func kindName(t reflect.Type) string {
	if t == reflect.TypeFor[time.Duration]() {
		return `a duration such as "1m30s"`
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Uint:
		return "a whole number that is not negative"
	case reflect.Float64:
		return "a number"
	}
	return "text"
}
