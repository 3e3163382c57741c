package seal

import "testing"

func BenchmarkSeal100(b *testing.B) {
	key := RandomSecret()
	c := NewCipher(&key)
	plain, aad, dst := make([]byte, 100), make([]byte, 90), make([]byte, 0, 256)
	nonce := new([NonceSize]byte)
	b.ReportAllocs()
	for b.Loop() {
		dst = c.Seal(dst[:0], nonce, plain, aad)
	}
}

func BenchmarkOpen100(b *testing.B) {
	key := RandomSecret()
	c := NewCipher(&key)
	aad, nonce := make([]byte, 90), new([NonceSize]byte)
	sealed := c.Seal(nil, nonce, make([]byte, 100), aad)
	dst := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = c.Open(dst[:0], nonce, sealed, aad); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSealBox100(b *testing.B) {
	key := RandomSecret()
	c := NewCipher(&key)
	plain, aad, dst := make([]byte, 100), make([]byte, 90), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		dst = SealBox(c, dst[:0], plain, aad)
	}
}

func BenchmarkNonce(b *testing.B) {
	var n [NonceSize]byte
	for b.Loop() {
		n = Nonce()
	}
	_ = n
}

func BenchmarkNonceParallel(b *testing.B) {
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			_ = Nonce()
		}
	})
}

func BenchmarkDerive(b *testing.B) {
	key, part := RandomSecret(), make([]byte, 16)
	b.ReportAllocs()
	for b.Loop() {
		_ = Derive(&key, Live, "bench", part)
	}
}

func BenchmarkHMAC16(b *testing.B) {
	key, part := RandomSecret(), make([]byte, 16)
	b.ReportAllocs()
	for b.Loop() {
		_ = HMAC16(&key, Live, "bench", part)
	}
}

func BenchmarkAppendInfo(b *testing.B) {
	a, c, dst := make([]byte, 16), make([]byte, 8), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendInfo(dst[:0], Live, "bench/block", a, a, c, c)
	}
}

func BenchmarkNewCipher(b *testing.B) {
	key := RandomSecret()
	b.ReportAllocs()
	for b.Loop() {
		_ = NewCipher(&key)
	}
}

func BenchmarkWrap(b *testing.B) {
	key, aad, plain := RandomSecret(), make([]byte, 40), make([]byte, 32)
	for b.Loop() {
		_ = Wrap(&key, aad, plain)
	}
}

func BenchmarkSealTo(b *testing.B) {
	_, pub := GenerateKeyPair()
	for b.Loop() {
		if _, err := SealTo(pub, nil, nil, make([]byte, 32)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenFrom(b *testing.B) {
	priv, pub := GenerateKeyPair()
	sealed, _ := SealTo(pub, nil, nil, make([]byte, 32))
	for b.Loop() {
		if _, err := priv.Open(nil, nil, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	seed := RandomSecret()
	pub := SignKeyPublic(&seed)
	st := Statement{Format: 1, Env: Live, Kind: Approve, KeyID: KeyID(pub)}
	sig := st.Sign(&seed)
	for b.Loop() {
		if st.Verify(pub, sig) != nil {
			b.Fatal()
		}
	}
}
