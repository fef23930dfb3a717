// Package setting reads settings into plain structs, from flags, the
// environment and a file, in that order, and prints their help.
//
//	var c struct{ MaxLines int `default:"50" usage:"most lines of an order"` }
//	set := setting.NewSet("shop")
//	err := set.Add("order", "ORDER", &c) // --order.max-lines, ORDER_MAX_LINES
//	err = set.Parse(os.Args[1:], os.LookupEnv, "config")
package setting
