package zk_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"magellan/internal/zk"
	"magellan/internal/zk/zktest"
)

// authority signs certificates for a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes a CA, whose certificate is in NAME.pem.
func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, name, nil)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue signs a certificate: NAME.pem, NAME.key, and both in NAME.both.
func (a *authority) issue(t *testing.T, name string, ip net.IP) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip != nil {
		template.IPAddresses = []net.IP{ip}
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage |= x509.KeyUsageCertSign
		template.ExtKeyUsage = nil
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(err)
	cert, err := x509.ParseCertificate(der)
	must(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	must(os.WriteFile(a.file(name+".pem"), certPEM, 0o600))
	must(os.WriteFile(a.file(name+".key"), keyPEM, 0o600))
	must(os.WriteFile(a.file(name+".both.pem"), append(keyPEM, certPEM...), 0o600))
	return cert, key
}

func TestTLS(t *testing.T) {
	t.Parallel()
	if !zk.HasTLS() {
		_, err := zk.Open(zk.Config{Servers: []string{"127.0.0.1:1"}, TLS: &zk.TLS{}})
		if !errors.Is(err, zk.ErrNoTLS) {
			t.Errorf("Open: %v", err)
		}
		t.Skip("this libzookeeper_mt was built without OpenSSL, as the distribution's is; build/native.sh makes one with it")
	}
	ca := newAuthority(t, "ca")
	ca.issue(t, "server", nil)
	ca.issue(t, "client", nil)
	s := zktest.Start(t, zktest.WithTLS(zktest.ServerTLS{CA: ca.file("ca.pem"), CertWithKey: ca.file("server.both.pem")}),
		zktest.WithLines("ssl.hostnameVerification=false"))
	good := &zk.TLS{CA: ca.file("ca.pem"), Cert: ca.file("client.pem"), Key: ca.file("client.key")}
	var rec recorder
	c := open(t, rec.into(zk.Config{Servers: []string{s.SecureAddr()}, TLS: good}))
	create(t, c, "/a", []byte("secret"))
	if data, _, err := c.GetW(testContext(t), "/a"); err != nil || string(data) != "secret" {
		t.Fatalf("%q, %v", data, err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready again", func() bool { return rec.states() == "ready 1, disconnected 1, ready 1" })
	set(t, c, "/a", "x")
	syncNow(t, c)
	if got := rec.fired(); len(got) != 1 {
		t.Errorf("the watch fired %d times", len(got))
	}

	// A client of another authority gets nowhere, and Close still ends it.
	other := newAuthority(t, "ca")
	other.issue(t, "client", nil)
	stranger, err := zk.Open(zk.Config{Servers: []string{s.SecureAddr()},
		TLS: &zk.TLS{CA: ca.file("ca.pem"), Cert: other.file("client.pem"), Key: other.file("client.key")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := stranger.Get(testContext(t), "/a"); err == nil {
		t.Error("a stranger reads")
	}
	if err := stranger.Close(); err != nil {
		t.Error(err)
	}

	for name, bad := range map[string]*zk.TLS{
		"nothing": {}, "no key": {CA: good.CA, Cert: good.Cert}, "no file": {CA: good.CA, Cert: good.Cert, Key: ca.file("none")},
		"comma": {CA: good.CA + ",", Cert: good.Cert, Key: good.Key},
	} {
		if _, err := zk.Open(zk.Config{Servers: []string{s.SecureAddr()}, TLS: bad}); !errors.Is(err, zk.ErrBadArguments) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
