// Package version tells which build is running.
//
//	fmt.Println(version.String()) // "v0.1.0 (3f2c1ab)"
package version

import "runtime/debug"

// String returns the module version and the revision, as far as they are known.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 7 {
			v += " (" + s.Value[:7] + ")"
		}
	}
	return v
}
