package argosytest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/argosy-go/argosy/argosytest"
	"github.com/argosy-go/argosy/broker/memory"
)

func TestAnUnreliableBrokerLosesAndDoublesNothing(t *testing.T) {
	for name, faults := range map[string]argosytest.Faults{
		"requests and replies of publications are lost":    {Seed: 1, LoseRequests: 0.2, LoseReplies: 0.2},
		"acknowledgements are lost":                        {Seed: 2, LoseAcks: 0.3},
		"everything is delivered six times, in any order":  {Seed: 3, Copies: 5},
		"old messages come again while publications delay": {Seed: 4, Repeat: 0.4, Delay: 2 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			s := &till{}
			f := argosytest.StartConfig(t, argosytest.Config{Services: s.services(), Broker: argosytest.Unreliable(memory.NewServer(), faults)})
			for i := range 60 {
				if err := s.sell(t.Context(), fmt.Sprint("sale", i)); err != nil {
					t.Fatal(err)
				}
			}
			f.AwaitQuiet(t)
			if err := agree(t.Context(), f); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAClockThatJumpsDoublesNothing(t *testing.T) {
	s := &till{}
	f := argosytest.Start(t, s.services()...)
	for i := range 40 {
		if err := s.sell(t.Context(), fmt.Sprint("sale", i)); err != nil {
			t.Fatal(err)
		}
		f.Clock.Jump([]time.Duration{time.Hour, -time.Hour, time.Minute, -30 * time.Second}[i%4])
	}
	f.AwaitQuiet(t)
	if err := agree(t.Context(), f); err != nil {
		t.Error(err)
	}
}
