// Command shop is a real order-fulfilment system on Argosy: nine services in
// one process, with a bank and a carrier as programs of their own beside it.
//
//	shop                 run the fleet
//	shop audit           compare its stores with the ledgers of bank and carrier
//	shop load            send it orders, open loop
//	shop --help          every setting
package main

import (
	"fmt"
	"os"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/engine/all"
	"github.com/argosy-go/argosy/shop/cart"
	"github.com/argosy-go/argosy/shop/catalog"
	"github.com/argosy-go/argosy/shop/identity"
	"github.com/argosy-go/argosy/shop/inventory"
	"github.com/argosy-go/argosy/shop/notify"
	"github.com/argosy-go/argosy/shop/order"
	"github.com/argosy-go/argosy/shop/payment"
	"github.com/argosy-go/argosy/shop/shipping"
	"github.com/argosy-go/argosy/shop/web"
	"github.com/argosy-go/argosy/shop/witness/bank"
	"github.com/argosy-go/argosy/shop/witness/carrier"
)

// commands are what the program does besides running the fleet.
var commands = map[string]func(args []string) int{
	"audit":   auditCommand,
	"load":    loadCommand,
	"bank":    bank.Main,
	"carrier": carrier.Main,
}

// services are the fleet.
var services = []argosy.Service{
	witnesses, identity.Service, catalog.Service, cart.Service, order.Service, inventory.Service,
	payment.Service, shipping.Service, notify.Service, web.Service,
}

func main() {
	if len(os.Args) > 1 {
		name := os.Args[1]
		if run, ok := commands[name]; ok {
			os.Exit(run(os.Args[2:]))
		}
		if name == "-h" || name == "-help" || name == "--help" {
			fmt.Print("Commands:\n  shop              run the fleet\n  shop audit        compare its stores with the ledgers of bank and carrier\n  shop load         send it orders, open loop\n\n")
		}
		if name != "" && name[0] != '-' {
			fmt.Fprintf(os.Stderr, "shop: there is no command %q; there are: audit, load, and none, which runs the fleet (see shop --help)\n", name)
			os.Exit(2)
		}
	}
	argosy.Main(all.Engines(), services...)
}
