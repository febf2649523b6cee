package signature

import (
	"bytes"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"jethook/pkg/secret"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	symmetricSecret  = secret.Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	asymmetricSecret = secret.Secret("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==")
)

func TestSignVectors(t *testing.T) {
	const (
		id   = "msg_p5jXN8AQM9LWM0D4loKWxJek"
		at   = 1614265330
		body = `{"test": 2432232314}`
		v1   = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
		v1a  = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
	)
	const euro = `{"€":"café"}`
	tests := map[string]struct {
		secrets  []secret.Secret
		id, body string
		at       int64
		want     string
	}{
		"symmetric":         {[]secret.Secret{symmetricSecret}, id, body, at, v1},
		"asymmetric":        {[]secret.Secret{asymmetricSecret}, id, body, at, v1a},
		"both":              {[]secret.Secret{symmetricSecret, asymmetricSecret}, id, body, at, v1 + " " + v1a},
		"both, other order": {[]secret.Secret{asymmetricSecret, symmetricSecret}, id, body, at, v1a + " " + v1},
		"public key left out": {
			[]secret.Secret{"whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", symmetricSecret}, id, body, at, v1,
		},
		"no keys":        {nil, id, body, at, ""},
		"shortest, UTF8": {[]secret.Secret{text(secretPrefix, 24)}, "evt_01", euro, 1700000000, "v1,B48LCfR9W7ktgHB9u015fbnW8RnkAuQLZp6Yiivos2w="},
		"32 bytes, UTF8": {[]secret.Secret{text(secretPrefix, 32)}, "evt_01", euro, 1700000000, "v1,/x3n1i0I51s4s4FLgIosJVNDSGozX48yOa4gmBY+Hws="},
		"longest, UTF8":  {[]secret.Secret{text(secretPrefix, 64)}, "evt_01", euro, 1700000000, "v1,rTfVdjxLex6QdoBJW76wWWFSdtGWIZN6mWMCQDnJl/0="},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var keys []Key
			for _, s := range tt.secrets {
				keys = append(keys, mustParse(t, s))
			}
			for range 3 { // a key is used again and again
				if got := Sign(keys, tt.id, tt.at, []byte(tt.body)); got != tt.want {
					t.Fatalf("Sign() = %q, want %q", got, tt.want)
				}
			}
		})
	}
}

func TestSignSkipsTheZeroKey(t *testing.T) {
	if got := Sign([]Key{{}}, "evt_01", 1, nil); got != "" {
		t.Errorf("Sign() = %q, want nothing", got)
	}
	k := mustParse(t, symmetricSecret)
	if got, want := Sign([]Key{{}, k, {}}, "evt_01", 1, nil), Sign([]Key{k}, "evt_01", 1, nil); got != want {
		t.Errorf("Sign() = %q, want %q", got, want)
	}
}

// TestSignAgreesWithTheLibrary compares with the standard's own Go library,
// over secrets and bodies of every length around the hash's block size.
func TestSignAgreesWithTheLibrary(t *testing.T) {
	for n := MinSecretBytes; n <= MaxSecretBytes; n++ {
		secret := text(secretPrefix, n)
		library, err := standardwebhooks.NewWebhook(secret.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		keys := []Key{mustParse(t, secret)}
		for size := range 130 {
			body := bytes.Repeat([]byte{byte(size)}, size)
			at := time.Unix(1700000000+int64(size), 0)
			want, err := library.Sign("evt_01", at, body)
			if err != nil {
				t.Fatal(err)
			}
			if got := Sign(keys, "evt_01", at.Unix(), body); got != want {
				t.Fatalf("secret of %d bytes, body of %d: Sign() = %q, want %q", n, size, got, want)
			}
		}
	}
}

func TestSignLeavesTheBodyAlone(t *testing.T) {
	keys := []Key{mustParse(t, symmetricSecret), mustParse(t, asymmetricSecret)}
	backing := []byte("body and what lies behind it")
	body := backing[:4]
	Sign(keys, strings.Repeat("i", 64), math.MinInt64, body)
	if string(backing) != "body and what lies behind it" {
		t.Errorf("Sign wrote to the body: %q", backing)
	}
}

// TestSignConcurrently is for the race detector, and for a hash shared by two.
func TestSignConcurrently(t *testing.T) {
	keys := []Key{mustParse(t, symmetricSecret), mustParse(t, asymmetricSecret)}
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			body := bytes.Repeat([]byte{byte(worker)}, 512)
			want := Sign([]Key{mustParse(t, symmetricSecret), mustParse(t, asymmetricSecret)}, "evt_01", 1, body)
			for range 200 {
				if got := Sign(keys, "evt_01", 1, body); got != want {
					t.Errorf("Sign() = %q, want %q", got, want)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestSignCopiesNoBody(t *testing.T) {
	const rounds = 100
	keys := []Key{mustParse(t, symmetricSecret)}
	body := make([]byte, 64<<10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		Sign(keys, "evt_0123456789abcdef", 1700000000, body)
	}
	runtime.ReadMemStats(&after)
	// The buffer, the string, and now and then a hash that the pool let go.
	if got := (after.TotalAlloc - before.TotalAlloc) / rounds; got > 2<<10 {
		t.Errorf("Sign allocates %d bytes for a body of %d", got, len(body))
	}
}

func BenchmarkSign(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 512)
	for name, keys := range map[string][]Key{
		"v1":          {mustParse(b, symmetricSecret)},
		"v1, two":     {mustParse(b, symmetricSecret), mustParse(b, text(secretPrefix, 32))},
		"v1a":         {mustParse(b, asymmetricSecret)},
		"v1 and v1a":  {mustParse(b, symmetricSecret), mustParse(b, asymmetricSecret)},
		"v1 parallel": {mustParse(b, symmetricSecret)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			if strings.HasSuffix(name, "parallel") {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						Sign(keys, "evt_0123456789abcdef", 1700000000, body)
					}
				})
				return
			}
			for b.Loop() {
				Sign(keys, "evt_0123456789abcdef", 1700000000, body)
			}
		})
	}
}
