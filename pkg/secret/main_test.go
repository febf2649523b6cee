package secret

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Two master keys and what they sealed once. Both texts were opened by an
// implementation of RFC 9180 other than Go's, with the labels of this package.
const (
	firstKey  = "Q0FOQVJZQ0FOQVJZQ0FOQVJZQ0FOQVJZQ0FOQVJZQ0E="
	secondKey = "YW4gb2xkZXIgbWFzdGVyIGtleSBvZiAzMiBieXRlcyE="

	firstPublic  = "57fd2b3b:LgNINDwzPyEcI8lNWCYqhC6hM4tAZxv2klKzPF2VIVI="
	secondPublic = "20787270:GcsF4YM8lnDRaOQL41TDk0d8Ent0EClDVX69mUINOh0="

	firstSealed  Secret = "sealed:v1:57fd2b3b:2aEUv1wIaRN02VXFh0CvGGKGFGetAFmOECrNUC0PYCRws3u45OStjD-0FRZhOe6YlnAi66g4bGEoVGeMWZ70HViEddXbp8MpbieQEA5J6A9oUWOdR5w"
	secondSealed Secret = "sealed:v1:20787270:v8YJQsME5Eov0Gxo_A2_dNYEibhV1Qku-LYFePBUuQyPg868K8kdAFio5Wxytv07V5P-dKG5tOF4W0oSDqR48I1YZe2J3NoLGCRAgtKoTN1PB6G6Se4"

	about        = "acme/crm secrets"
	plain Secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

func mustParse(t testing.TB, text string) *Ring {
	t.Helper()
	r, err := ParseRing(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustSeal(t testing.TB, s Sealer, text Secret, about string) Secret {
	t.Helper()
	sealed, err := s.Seal(text, about)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}
