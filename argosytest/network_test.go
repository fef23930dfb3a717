package argosytest

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
)

// transport is one that counts what arrives.
type transport struct {
	grpc.ClientConnInterface
	arrived int
}

func (c *transport) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	c.arrived++
	return nil
}

func TestANetworkDoesToACallWhatWasDecided(t *testing.T) {
	contract := inventorypb.Inventory_ServiceDesc.ServiceName
	for name, test := range map[string]struct {
		fate    Fate
		method  string
		arrived int
		code    codes.Code
	}{
		"it arrives":                             {Arrives, inventorypb.Inventory_Reserve_FullMethodName, 1, codes.OK},
		"the request is lost":                    {RequestLost, inventorypb.Inventory_Reserve_FullMethodName, 0, codes.Unavailable},
		"the reply is lost":                      {ReplyLost, inventorypb.Inventory_Reserve_FullMethodName, 1, codes.Unavailable},
		"the request is late":                    {Late, inventorypb.Inventory_Reserve_FullMethodName, 1, codes.Unavailable},
		"a call that is safe is repeated":        {Repeated, inventorypb.Inventory_Reserve_FullMethodName, 2, codes.OK},
		"a call of an unknown method is not":     {Repeated, "/" + contract + "/None", 1, codes.OK},
		"a lost reply of an unknown method, too": {ReplyLost, "/" + contract + "/None", 1, codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			inner := &transport{}
			n := &Network{Decide: func(c Call) Fate {
				if c.From != "order" || c.Method != test.method || c.Nth != 1 {
					t.Errorf("asked about %+v", c)
				}
				return test.fate
			}}
			err := n.between("order", contract, inner).Invoke(t.Context(), test.method, &inventorypb.ReserveRequest{}, &emptypb.Empty{})
			n.settle()
			if status.Code(err) != test.code || inner.arrived != test.arrived {
				t.Errorf("%v after %d arrived, want %v after %d", err, inner.arrived, test.code, test.arrived)
			}
		})
	}
}

func TestTheSameSeedGivesTheSameNetwork(t *testing.T) {
	fates := func(seed uint64) (out [200]Fate) {
		n := &Network{Seed: seed, LoseRequests: 0.2, LoseReplies: 0.2, Delays: 0.2, Repeats: 0.2}
		for i := range out {
			out[i], _ = n.fate("a", "b", true)
		}
		return out
	}
	if fates(7) != fates(7) {
		t.Error("one seed gave two runs")
	}
	if fates(7) == fates(8) {
		t.Error("two seeds gave the same run")
	}
	var n [5]int
	for _, f := range fates(7) {
		n[f]++
	}
	for f, k := range n {
		if k < 20 {
			t.Errorf("fate %d befell %d of 200 calls", f, k)
		}
	}
}
