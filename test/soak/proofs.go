package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"magellan/test/soak/proof"
)

func proofCommand(flags *flag.FlagSet) func(context.Context) error {
	cfg := proof.Config{Out: os.Stdout}
	flags.StringVar(&cfg.Magellan, "magellan", "dist/magellan", "the `binary`")
	flags.Uint64Var(&cfg.Seed, "seed", 1, "the first seed")
	seeds := flags.Int("seeds", 1, "how many `seeds`, each with servers of its own")
	flags.IntVar(&cfg.Rounds, "rounds", 3, "`rounds` for each seed")
	flags.DurationVar(&cfg.Round, "round", 25*time.Second, "how long the faults of a round last")
	flags.IntVar(&cfg.Readers, "readers", 4, "how many ask each replica at once")
	most := flags.Duration("duration", 0, "begin no further seed after this `time`; 0 is no bound")
	return func(ctx context.Context) error {
		begin, operations := time.Now(), 0
		for i := range *seeds {
			if *most > 0 && time.Since(begin) > *most {
				break
			}
			one := cfg
			one.Seed += uint64(i)
			report, dir, err := prove(ctx, one)
			operations += report.Operations()
			for _, v := range report.Violations {
				fmt.Println(v)
			}
			fmt.Printf("seed %d: %v; %d operations in all\n", one.Seed, report, operations)
			if err != nil || len(report.Violations) > 0 {
				return errors.Join(err, fmt.Errorf("seed %d: %d violations; the logs are in %s; to try again: -seed %d -rounds %d -round %v -readers %d",
					one.Seed, len(report.Violations), dir, one.Seed, one.Rounds, one.Round, one.Readers))
			}
			os.RemoveAll(dir)
		}
		return nil
	}
}

func prove(ctx context.Context, cfg proof.Config) (report proof.Report, dir string, err error) {
	if cfg.Dir, err = os.MkdirTemp("", "soak-proof-"); err != nil {
		return report, "", err
	}
	report, err = proof.Run(ctx, cfg)
	return report, cfg.Dir, err
}

func mutantsCommand(flags *flag.FlagSet) func(context.Context) error {
	root := flags.String("root", ".", "the repository's `folder`")
	seed := flags.Uint64("seed", 1, "the first seed")
	seeds := flags.Int("seeds", 10, "how many seeds a mutant may survive")
	round := flags.Duration("round", 25*time.Second, "how long the faults of a round last")
	only := flags.String("only", "", "the `name` of the only mutant to try")
	return func(ctx context.Context) error {
		var alive []error
		for _, m := range proof.Mutants {
			if *only != "" && m.Name != *only {
				continue
			}
			cfg := proof.Config{Seed: *seed, Rounds: 1, Round: *round, Readers: 4, Patience: 15 * time.Second}
			if err := kill(ctx, m, *root, cfg, *seeds); err != nil {
				alive = append(alive, err)
			}
		}
		return errors.Join(alive...)
	}
}

// kill tries seeds until a violation is found that the mutant is known to
// commit.
func kill(ctx context.Context, m proof.Mutant, root string, cfg proof.Config, seeds int) error {
	dir, err := os.MkdirTemp("", "soak-mutant-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if cfg.Magellan, err = m.Build(ctx, root, dir); err != nil {
		return err
	}
	for i := range seeds {
		one := cfg
		one.Seed += 2 * uint64(i) // odd ones, with sessions that one server knows alone
		report, dir, err := prove(ctx, one)
		os.RemoveAll(dir)
		if err != nil {
			return fmt.Errorf("mutant %q: %w", m.Name, err)
		}
		for _, v := range report.Violations {
			if slices.Contains(m.Breaks, v.Kind) {
				fmt.Printf("mutant %q: found with seed %d after %d operations: %v\n", m.Name, one.Seed, report.Operations(), v)
				return nil
			}
		}
		fmt.Printf("mutant %q: has survived seed %d: %v\n", m.Name, one.Seed, report)
	}
	return fmt.Errorf("mutant %q has survived %d seeds: the check does not see what it is for", m.Name, seeds)
}
