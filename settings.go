package argosy

import (
	"time"
)

// settings are what the fleet itself can be told. Each is a flag, a variable
// with the prefix ARGOSY_, and a key of the configuration file.
type settings struct {
	HTTP  string `default:":8080" usage:"address of the HTTP edge: REST, pages, OpenAPI"`
	GRPC  string `default:":9090" usage:"address of the gRPC listener"`
	Admin string `default:":9091" usage:"address of the admin listener: health, metrics, operators, profiles"`

	AdminToken string `secret:"true" usage:"what operators send as a bearer token to look into services and repair them; without it the admin listener lets only this machine do so"`

	AddrFile  string `usage:"file that receives the chosen addresses as JSON once the fleet is ready"`
	Data      string `usage:"data directory (default: a directory of the program's in the user's state directory)"`
	Only      string `usage:"run only these services, separated by commas"`
	Peers     string `usage:"where contracts that run elsewhere are reached, as service=host:port, separated by commas; several of one by bars"`
	Discovery string `secret:"url" usage:"URL of the discovery that finds services elsewhere and, where it can, is told of the ones here: dns:///{service}.shop.svc:9090, etcd://host:2379, consul://host:8500"`
	Advertise string `usage:"host or host:port under which other processes reach the gRPC listener (default: where it listens; on all interfaces, the first address of this machine)"`
	Edge      bool   `default:"false" usage:"serve the routes of all services of the program on the HTTP edge: those of services elsewhere by their peers"`
	HTTPPeers string `usage:"with --edge, where pages and webhooks of services elsewhere are reached, as service=host:port, separated by commas; several of one by bars"`
	AuthKey   string `usage:"file of the key that signs tokens, shared by the processes of a fleet (default: in the data directory)"`

	TLSCert  string `usage:"file of this process's certificate, which names the services that it runs (spiffe://<fleet>/<service>): calls between processes are encrypted and proved by it; a new file is used without a restart"`
	TLSKey   string `usage:"file of the key of --tls-cert"`
	TLSCa    string `usage:"file of the certificates that are trusted to name services; two while one is replaced by the other"`
	Insecure bool   `default:"false" usage:"without certificates, call other machines in the clear"`

	AuthIssuer     string `usage:"issuer outside the fleet whose tokens prove people and foreign programs, as they say it in iss"`
	AuthAudience   string `usage:"what the tokens of that issuer must say in aud"`
	AuthJWKS       string `usage:"where the keys of that issuer are: an https URL, an http URL of this machine, or a file"`
	AuthRolesClaim string `default:"roles" usage:"claim that lists the roles in a token of that issuer; with a slash in front a JSON pointer, as in /realm_access/roles"`

	Store  string `secret:"url" usage:"URL of the store"`
	Broker string `secret:"url" usage:"URL of the broker, as nats://a:4222,nats://b:4222?replicas=3"`
	Config string `usage:"configuration file (YAML)"`

	LogLevel  string  `default:"info" usage:"debug, info, warn or error"`
	LogFormat string  `default:"auto" usage:"console, json, or auto: console on a terminal"`
	OTLP      string  `usage:"OTLP gRPC endpoint that receives traces, as host:port"`
	TraceRate float64 `default:"1" min:"0" max:"1" usage:"share of traces that are recorded when an OTLP endpoint is set, 0 to 1"`
	Dev       bool    `default:"false" usage:"development: profiles on the admin listener"`

	Origin      string  `usage:"public URL of the HTTP edge, where it differs from its address"`
	MaxBody     int64   `default:"1048576" usage:"largest request body in bytes"`
	MaxInFlight int     `default:"2000" min:"1" max:"1000000" usage:"most calls from outside that are worked on at once; each method finds its own limit below"`
	Quota       float64 `default:"0" min:"0" max:"1000000" usage:"calls a second that each caller may make, twice as many at once after a rest; 0 is no quota"`

	Guard  map[string]guardRule `usage:"policies of the calls to a service or a method, as inventory.attempts=2,inventory/Reserve.deadline=1s; the keys are below"`
	Limits map[string]limitRule `usage:"how many calls of a service or a method are served at once, as order.max-in-flight=200; the keys are below"`
	Quotas map[string]quotaRule `usage:"quotas of kinds of callers in place of --quota, as service/web.rate=500: of service/<name>, user and anonymous; the keys are below"`

	DrainWait    time.Duration `default:"0s" usage:"time between turning not ready and refusing work, for load balancers to notice"`
	DrainTimeout time.Duration `default:"15s" usage:"longest time that a drain may take"`
	Banner       bool          `default:"true" usage:"print where to look once the fleet is ready, and that it drains"`
	Describe     bool          `usage:"print the services and their graph as JSON and exit"`
	Version      bool          `usage:"print the version and exit"`

	rules *rules // what Guard, Limits and Quotas mean for the contracts of the program
}
