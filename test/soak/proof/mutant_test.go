package proof

import "testing"

// Each mutant is a program that builds: what soak mutants then runs.
func TestMutantsBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds magellan for each mutant")
	}
	for _, m := range Mutants {
		t.Run(m.Name, func(t *testing.T) {
			if _, err := m.Build(t.Context(), "../../..", t.TempDir()); err != nil {
				t.Error(err)
			}
		})
	}
}
