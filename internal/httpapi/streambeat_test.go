package httpapi

import (
	"net/http/httptest"
	"slices"
	"testing"

	"magellan/internal/shops"
	"magellan/internal/shops/shopstest"
)

// TestAgesOfWhatTheClientHas: an age is told of an answer that the client has, and not of one that it
// will be sent.
func TestAgesOfWhatTheClientHas(t *testing.T) {
	reader := shopstest.New()
	reader.SetRegion(shops.Region{Name: "us-east1", Open: true})
	reader.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "us-east1"})
	reader.SetShop("42", "ash1")
	reader.SetShop("43", "ash1")
	server := serverOf(t, reader)
	keys, err := server.streamKeys(t.Context(), "shop=42&shop=43")
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{x: &exchange{r: httptest.NewRequest("GET", "/v1/watch", nil), server: server}, keys: keys}
	for _, test := range []struct {
		name    string
		state   uint64
		pending bool
		want    int64
	}{
		{"it has it", 1, false, 0},
		{"another one will follow", 1, true, unknownAge},
		{"it has nothing", 0, false, unknownAge},
	} {
		keys[0].state, keys[0].pending, keys[1].state = test.state, test.pending, 1
		if got := s.ages(); !slices.Equal(got, []int64{test.want, 0}) {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
