package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	catalogpb "github.com/argosy-go/argosy/shop/gen/catalog/v1"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
)

// pidOf returns the process id of a witness.
func pidOf(t *testing.T, dir, name string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "witness", name+".addr.json"))
	if err != nil {
		t.Fatal(err)
	}
	var a struct{ PID int }
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatal(err)
	}
	return a.PID
}

func TestWitnessesThatOutliveAKilledFleetAreAdopted(t *testing.T) {
	bin, dir := build(t, ""), t.TempDir()
	f := start(t, bin, dir)
	pid := pidOf(t, dir, "bank")
	f.kill()
	g := start(t, bin, dir)
	if now := pidOf(t, dir, "bank"); now != pid {
		t.Errorf("the bank was process %d and is %d", pid, now)
	}
	if !strings.Contains(g.out.String(), "adopted") {
		t.Errorf("nothing says that the bank was adopted:\n%s", g.out)
	}
	g.signIn("customer@shop.test")
	id := g.must("POST", "/v1/orders", "k1", order("tok_ok", g.products()[0])).field("id")
	if s := g.awaitEnd(id); s != "CONFIRMED" {
		t.Errorf("the order ended %s", s)
	}
	awaitDelivery(t, g, id) // the carrier was told the new webhook address
	if err := g.stop(); err != nil {
		t.Errorf("drain: %v\n%s", err, g.out)
	}
	if _, err := os.Stat(filepath.Join(dir, "witness", "bank.addr.json")); err == nil { // it takes its address back when it ends
		t.Error("the adopted bank outlived the drain")
	}
}

func TestABankThatDiesIsStartedAgainAndTheOrderEnds(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir())
	f.signIn("customer@shop.test")
	p := f.products()
	id := f.must("POST", "/v1/orders", "k1", order("tok_slow", p[0])).field("id") // the bank is still at it
	if err := syscall.Kill(pidOf(t, f.dir, "bank"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := f.awaitEnd(id); s != "CONFIRMED" {
		t.Errorf("the order ended %s", s)
	}
	f.green(20 * time.Second)
}

// awaitDelivery reads the order until it is delivered.
func awaitDelivery(t *testing.T, f *fleet, id string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); ; {
		if strings.Contains(string(f.must("GET", "/v1/orders/"+id, "", nil).body), `"delivered":true`) {
			return
		}
		select {
		case <-deadline:
			t.Fatal("the order was not delivered")
		case <-tick:
		}
	}
}

func TestASecondFleetOnTheSameDirectoryIsRefused(t *testing.T) {
	bin, dir := build(t, ""), t.TempDir()
	start(t, bin, dir)
	cmd := exec.Command(bin, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", dir, "--witness.start=false")
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("it started: %v", err)
	}
	if !strings.Contains(string(out), "running already") && !strings.Contains(string(out), "in use") {
		t.Errorf("nothing says why:\n%s", out)
	}
}

func TestASecondSignalStopsAtOnce(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir(), "ARGOSY_DRAIN_WAIT=25s")
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); ; {
		if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			break // it has gone
		}
		select {
		case <-f.exited:
			return
		case <-deadline:
			t.Fatal("two signals, and it still drains")
		case <-tick:
		}
	}
}

func TestReflectionListsEveryServiceAndItsCallsWork(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir())
	f.signIn("customer@shop.test")
	conn, err := grpc.NewClient(f.addrs.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	info, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := info.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	res, err := info.Recv()
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, s := range res.GetListServicesResponse().GetService() {
		listed[s.Name] = true
	}
	for _, name := range []string{"identity.v1.Identity", "catalog.v1.Catalog", "cart.v1.Carts", "order.v1.Orders", "inventory.v1.Inventory", "payment.v1.Payment", "shipping.v1.Shipping", "notify.v1.Notify"} {
		if !listed["argosy.shop."+name] {
			t.Errorf("argosy.shop.%s is not listed", name)
		}
	}
	products, err := catalogpb.NewCatalogClient(conn).ListProducts(t.Context(), &catalogpb.ListProductsRequest{PageSize: 1})
	if err != nil || len(products.Products) != 1 {
		t.Fatalf("%v %v", products, err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+f.token, "idempotency-key", "grpc-1")
	placed, err := orderpb.NewOrdersClient(conn).PlaceOrder(ctx, &orderpb.PlaceOrderRequest{
		Lines: []*orderpb.OrderLine{{ProductId: products.Products[0].Id, Quantity: 1}}, PaymentToken: "tok_ok",
	})
	if err != nil {
		t.Fatal(err)
	}
	watch, err := orderpb.NewOrdersClient(conn).WatchOrder(ctx, &orderpb.WatchOrderRequest{Id: placed.Id})
	if err != nil {
		t.Fatal(err)
	}
	for last := placed; last.State != orderpb.State_CONFIRMED; {
		if last, err = watch.Recv(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoadAcknowledgesWhatTheAuditFinds(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir())
	cmd := exec.Command(f.bin, "load", "--url", "http://"+f.addrs.HTTP, "--data", f.dir, "--rate", "60", "--duration", "3s", "--seed", "7", "--output", "json")
	cmd.Env = append(os.Environ(), "ARGOSY_SHOP_DEV_PASSWORD="+password)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("shop load: %v\n%s%s", err, out.Bytes(), errs.Bytes())
	}
	var r struct{ Offered, Acknowledged, Failed int }
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Acknowledged == 0 || r.Failed > 0 {
		t.Errorf("%+v", r)
	}
	t.Log(r, f.green(30*time.Second))
}

func TestTheAuditTellsByItsExitCode(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir())
	f.signIn("customer@shop.test")
	p := f.products()
	for i := range 3 { // the bank hangs twice over each
		f.must("POST", "/v1/orders", fmt.Sprint("k", i), order("tok_timeout_after_commit", p[i]))
	}
	if code, r := audit(t, f.bin, f.dir, 0); code != 4 || r.Quiet {
		t.Errorf("orders are under way and the audit exited %d:\n%s", code, r)
	}
	f.green(30 * time.Second)
	f.kill()
	ledger := filepath.Join(f.dir, "witness", "bank.ledger.jsonl")
	b, err := os.ReadFile(ledger)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Replace(b, []byte(`"outcome":"captured"`), []byte(`"outcome":"nothing"`), 1)
	if err := os.WriteFile(ledger, forged, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, r := audit(t, f.bin, f.dir, 0); code != 1 {
		t.Errorf("the bank lost a capture and the audit exited %d:\n%s", code, r)
	}
	cmd := exec.Command(f.bin, "audit", "--data", filepath.Join(f.dir, "none"))
	if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("an audit of nothing: %v %s", err, out)
	}
}
