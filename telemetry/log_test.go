package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"

	"github.com/google/go-cmp/cmp"

	"github.com/argosy-go/argosy/telemetry/internal/testpb"
)

// configured returns a Telemetry with these settings and what it writes.
func configured(t *testing.T, s Settings) (*Telemetry, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	tel := New(Config{Program: "test", Output: &out})
	if err := tel.Configure(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return tel, &out
}

var times = regexp.MustCompile(`"time":"[^"]*",`)

// lines returns the JSON lines without their times.
func lines(out *bytes.Buffer) string { return times.ReplaceAllString(out.String(), "") }

func TestJSONLogs(t *testing.T) {
	traced := WithTraceparent(context.Background(), example)
	const ids = `"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"`
	for name, c := range map[string]struct {
		log  func(*slog.Logger)
		want string
	}{
		"a line": {
			func(l *slog.Logger) { l.Info("placed", "order", "o1", "lines", 3) },
			`{"level":"INFO","msg":"placed","service":"order","order":"o1","lines":3}`,
		},
		"a line of a trace": {
			func(l *slog.Logger) { l.InfoContext(traced, "placed", "order", "o1") },
			`{"level":"INFO","msg":"placed","service":"order","order":"o1",` + ids + `}`,
		},
		"a line in a group keeps its trace outside": {
			func(l *slog.Logger) {
				l.WithGroup("saga").With("run", "r1").InfoContext(traced, "step", "name", "reserve")
			},
			`{"level":"INFO","msg":"step","service":"order",` + ids + `,"saga":{"run":"r1","name":"reserve"}}`,
		},
		"a group without a name is none": {
			func(l *slog.Logger) { l.WithGroup("").With().Info("a") },
			`{"level":"INFO","msg":"a","service":"order"}`,
		},
		"a line below the level is left out": {func(l *slog.Logger) { l.Debug("quiet") }, ``},
		"a message is JSON, without its secrets": {
			func(l *slog.Logger) {
				l.Info("in", "request", &testpb.Secret{Plain: "seen", Password: "hunter2", Child: &testpb.Secret{Pin: 1234}})
			},
			`{"level":"INFO","msg":"in","service":"order","request":{"plain":"seen","password":"[redacted]","child":{}}}`,
		},
		"a message in a group": {
			func(l *slog.Logger) { l.WithGroup("g").Info("in", "request", &testpb.Secret{Password: "hunter2"}) },
			`{"level":"INFO","msg":"in","service":"order","g":{"request":{"password":"[redacted]"}}}`,
		},
		"a message given to the logger": {
			func(l *slog.Logger) { l.With("request", &testpb.Secret{Password: "hunter2"}).Info("in") },
			`{"level":"INFO","msg":"in","service":"order","request":{"password":"[redacted]"}}`,
		},
		"a message that is computed when it is logged": {
			func(l *slog.Logger) { l.Info("in", "request", later{&testpb.Secret{Password: "hunter2"}}) },
			`{"level":"INFO","msg":"in","service":"order","request":{"password":"[redacted]"}}`,
		},
		"a message in a group of the line": {
			func(l *slog.Logger) {
				l.Info("in", slog.Group("g", "n", 1, "request", &testpb.Secret{Password: "hunter2"}))
			},
			`{"level":"INFO","msg":"in","service":"order","g":{"n":1,"request":{"password":"[redacted]"}}}`,
		},
		"no message at all": {
			func(l *slog.Logger) { l.Info("in", "request", (*testpb.Secret)(nil)) },
			`{"level":"INFO","msg":"in","service":"order","request":{}}`,
		},
		"an error": {
			func(l *slog.Logger) { l.Error("failed", "err", errors.New("disk full")) },
			`{"level":"ERROR","msg":"failed","service":"order","err":"disk full"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			tel, out := configured(t, Settings{Format: "json"})
			c.log(tel.Logger("order"))
			if d := cmp.Diff(c.want, strings.TrimSuffix(lines(out), "\n")); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// later is a value that is computed when it is logged.
type later struct{ v any }

func (l later) LogValue() slog.Value { return slog.AnyValue(l.v) }

func TestOurLoggerIsAsGoodAsSlogs(t *testing.T) {
	var out *bytes.Buffer
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		var tel *Telemetry
		tel, out = configured(t, Settings{Format: "json"})
		return &lateHandler{t: tel}
	}, func(t *testing.T) map[string]any {
		line := map[string]any{}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		return line
	})
}

func TestConsoleLogsAreForPeople(t *testing.T) {
	tel, out := configured(t, Settings{Format: "console"})
	tel.Logger("order").Info("in", "request", &testpb.Secret{Plain: "seen", Password: "hunter2"})
	got := out.String()
	if !strings.Contains(got, "INF in service=order") || !strings.Contains(got, "seen") || strings.Contains(got, "hunter2") {
		t.Errorf("got %q", got)
	}
	if strings.Contains(got, "\x1b[") {
		t.Errorf("colours are not for a buffer: %q", got)
	}
}

func TestLoggersFollowWhatIsConfiguredLater(t *testing.T) {
	var out bytes.Buffer
	tel := New(Config{Output: &out})
	early := tel.Logger("order")
	grouped := early.With("a", 1).WithGroup("g").With("b", 2)
	if early.Enabled(t.Context(), slog.LevelDebug) || !early.Enabled(t.Context(), slog.LevelInfo) {
		t.Error("before it is configured the level is info")
	}
	early.Info("before")
	if !strings.HasPrefix(out.String(), "{") || !strings.Contains(out.String(), `"before"`) {
		t.Errorf("before it is configured: %q", out.String())
	}
	out.Reset()
	if err := tel.Configure(t.Context(), Settings{Level: "debug", Format: "console"}); err != nil {
		t.Fatal(err)
	}
	early.Debug("one")
	grouped.Debug("two", "c", 3)
	if got := out.String(); !strings.Contains(got, "DBG one service=order") || !strings.Contains(got, "DBG two service=order a=1 g.b=2 g.c=3") {
		t.Errorf("got %q", got)
	}
}

func TestLoggingAndConfiguringAtOnce(t *testing.T) {
	tel := New(Config{Output: &synchronized{}})
	log := tel.Logger("order")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				log.With("a", 1).WithGroup("g").Info("x", "b", 2)
			}
		})
	}
	for _, format := range []string{"json", "console", "json", "auto"} {
		if err := tel.Configure(t.Context(), Settings{Format: format}); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// synchronized is a writer that handlers of two settings may write to at once.
type synchronized struct {
	mu sync.Mutex
	n  int
}

func (s *synchronized) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n += len(p)
	return len(p), nil
}

func TestSettingsThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		s    Settings
		want string
	}{
		"a level":                     {Settings{Level: "loud"}, `log level "loud": use debug, info, warn or error`},
		"a format":                    {Settings{Format: "xml"}, `log format "xml": use json, console or auto`},
		"a ratio over one":            {Settings{SampleRatio: 2}, "sample ratio 2: use 0 to 1"},
		"a ratio below none":          {Settings{SampleRatio: -1}, "sample ratio -1"},
		"an endpoint without a port":  {Settings{OTLPEndpoint: "localhost"}, "use host:port"},
		"an endpoint with a path":     {Settings{OTLPEndpoint: "http://localhost:4318/v1/traces"}, "use host:port"},
		"an endpoint with a password": {Settings{OTLPEndpoint: "http://me:hunter2@localhost:4317"}, "use host:port"},
		"an endpoint of another kind": {Settings{OTLPEndpoint: "ftp://localhost:4317"}, "the scheme is http or https"},
	} {
		t.Run(name, func(t *testing.T) {
			err := New(Config{Output: &bytes.Buffer{}}).Configure(t.Context(), c.s)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if isTerminal(f) || isTerminal(&bytes.Buffer{}) {
		t.Error("a file or a buffer is taken for a terminal")
	}
}

func TestDiscardKeepsNothing(t *testing.T) {
	tel := Discard()
	if tel.Logger("order").Enabled(t.Context(), slog.LevelError) {
		t.Error("it logs")
	}
	if got, err := tel.Registry().Gather(); err != nil || len(got) > 0 {
		t.Errorf("its registry has %v, %v", got, err)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
