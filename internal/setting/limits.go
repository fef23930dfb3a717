package setting

import (
	"fmt"
	"reflect"
)

// limits bound a value. The zero value bounds nothing.
type limits struct {
	min, max       reflect.Value
	least, highest string // as they were written
}

// limitsOf reads the tags min and max of a setting of type t.
func limitsOf(tag reflect.StructTag, t reflect.Type) (l limits, err error) {
	l.least, l.highest = tag.Get("min"), tag.Get("max")
	if l.least != "" {
		if l.min, err = parse(l.least, t); err != nil {
			return l, fmt.Errorf("its min %q: %w", l.least, err)
		}
	}
	if l.highest != "" {
		if l.max, err = parse(l.highest, t); err != nil {
			return l, fmt.Errorf("its max %q: %w", l.highest, err)
		}
	}
	return l, nil
}

// hold reports whether a value is within the limits.
func (l limits) hold(v reflect.Value) bool {
	return (!l.min.IsValid() || !below(v, l.min)) && (!l.max.IsValid() || !below(l.max, v))
}

// below reports whether a is no more than a part of the range up to b: for a
// number that is none (NaN) it is true of both, so that no range holds it.
func below(a, b reflect.Value) bool {
	switch {
	case a.CanFloat():
		return !(a.Float() >= b.Float())
	case a.CanUint():
		return a.Uint() < b.Uint()
	case a.CanInt():
		return a.Int() < b.Int()
	}
	return false
}

// String says what is allowed.
func (l limits) String() string {
	switch {
	case l.least == "" && l.highest == "":
		return ""
	case l.highest == "":
		return l.least + " or more"
	case l.least == "":
		return l.highest + " or less"
	}
	return l.least + " to " + l.highest
}
