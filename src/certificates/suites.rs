//! Which library enciphers the records of TLS with clients, and with those who issue our certificates.
//!
//! ```text
//! AVX-512 with VAES (server processors of Intel, AMD's from Zen 4 on)   aws-lc-rs
//! AVX2 with VAES    (AMD's Zen 3, Intel's without AVX-512)              ring: AES-GCM takes half of aws-lc-rs's time
//! anything else                                                         aws-lc-rs
//! ```
//!
//! Guarantees: the suites and their order are the same whoever enciphers, and all but AES-GCM with keys that were agreed is
//! aws-lc-rs's on every machine: key exchange, signatures, the derivation of keys, hashes, random numbers, ChaCha20.
//! Does not: choose a suite, which is the handshake's; wipe the keys of records from memory after use where they are ring's,
//! as aws-lc-rs does.

use rustls::crypto::{CryptoProvider, aws_lc_rs, ring};
use rustls::{CipherSuite, CipherSuiteCommon, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};
use std::sync::LazyLock;

/// Who enciphers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    AwsLc,
    Ring,
}

impl Library {
    /// The quicker one on this machine.
    pub(super) fn of_this_machine() -> Self {
        if has_short_vectors_alone() { Self::Ring } else { Self::AwsLc }
    }

    /// aws-lc-rs, with records of this library.
    pub(super) fn provider(self) -> CryptoProvider {
        let provider = aws_lc_rs::default_provider();
        match self {
            Self::AwsLc => provider,
            Self::Ring => CryptoProvider { cipher_suites: WITH_RING.clone(), ..provider },
        }
    }
}

/// Whether AES is done for two blocks at once, and not for four.
#[cfg(target_arch = "x86_64")]
fn has_short_vectors_alone() -> bool {
    use std::arch::is_x86_feature_detected as has;
    let vectors = has!("vaes") && has!("vpclmulqdq") && has!("avx2");
    let long = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    vectors && !long
}

/// Whether AES is done for two blocks at once, and not for four.
#[cfg(not(target_arch = "x86_64"))]
const fn has_short_vectors_alone() -> bool {
    false
}

/// The suites whose records ring enciphers sooner.
const AES: [CipherSuite; 6] = [
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// aws-lc-rs's suites, of which these encipher with ring. They are made once and live as long as the process.
static WITH_RING: LazyLock<Vec<SupportedCipherSuite>> =
    LazyLock::new(|| aws_lc_rs::DEFAULT_CIPHER_SUITES.iter().copied().map(with_ring).collect());

fn with_ring(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let name = suite.suite();
    let other = ring::ALL_CIPHER_SUITES.iter().find(|other| other.suite() == name && AES.contains(&name));
    match (suite, other) {
        (SupportedCipherSuite::Tls13(own), Some(SupportedCipherSuite::Tls13(other))) => {
            let mixed = Tls13CipherSuite { common: common(&own.common), aead_alg: other.aead_alg, ..*own };
            SupportedCipherSuite::Tls13(Box::leak(Box::new(mixed)))
        }
        (SupportedCipherSuite::Tls12(own), Some(SupportedCipherSuite::Tls12(other))) => {
            let mixed = Tls12CipherSuite { common: common(&own.common), aead_alg: other.aead_alg, ..*own };
            SupportedCipherSuite::Tls12(Box::leak(Box::new(mixed)))
        }
        (suite, _) => suite,
    }
}

const fn common(own: &CipherSuiteCommon) -> CipherSuiteCommon {
    let CipherSuiteCommon { suite, hash_provider, confidentiality_limit } = *own;
    CipherSuiteCommon { suite, hash_provider, confidentiality_limit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
    use std::io::{Read as _, Write as _};
    use std::sync::Arc;

    /// A provider with one suite alone.
    fn alone(library: Library, at: usize) -> Arc<CryptoProvider> {
        let mut provider = library.provider();
        provider.cipher_suites = vec![provider.cipher_suites[at]];
        Arc::new(provider)
    }

    /// A server and a client that are connected.
    fn pair(server: Arc<CryptoProvider>, client: Arc<CryptoProvider>) -> (ServerConnection, ClientConnection) {
        let versions = [server.cipher_suites[0].version()];
        let rsa = format!("{:?}", server.cipher_suites[0].suite()).contains("_RSA_");
        let signs = if rsa { &rcgen::PKCS_RSA_SHA256 } else { &rcgen::PKCS_ECDSA_P256_SHA256 };
        let key = rcgen::KeyPair::generate_for(signs).unwrap();
        let made = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.der().clone()).unwrap();
        let server = ServerConfig::builder_with_provider(server).with_protocol_versions(&versions).unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![made.der().clone()], key).unwrap();
        let client = ClientConfig::builder_with_provider(client).with_protocol_versions(&versions).unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let mut there = ServerConnection::new(Arc::new(server)).unwrap();
        let mut here = ClientConnection::new(Arc::new(client), ServerName::try_from("localhost").unwrap()).unwrap();
        for _ in 0..3 {
            carry(&mut here, &mut there);
            carry(&mut there, &mut here);
        }
        assert!(!here.is_handshaking() && !there.is_handshaking());
        (there, here)
    }

    fn carry<A, B>(from: &mut rustls::ConnectionCommon<A>, to: &mut rustls::ConnectionCommon<B>) {
        let mut wire = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            to.read_tls(&mut rest).unwrap();
            to.process_new_packets().unwrap();
        }
    }

    /// What one side says, as the other one reads it.
    fn said<A, B>(
        from: &mut rustls::ConnectionCommon<A>,
        to: &mut rustls::ConnectionCommon<B>,
        text: &[u8],
    ) -> Vec<u8> {
        from.writer().write_all(text).unwrap();
        carry(from, to);
        let mut read = vec![0; text.len()];
        to.reader().read_exact(&mut read).unwrap();
        read
    }

    /// Who has a part in a suite: it enciphers, derives keys, hashes.
    fn parts(suite: &SupportedCipherSuite) -> [*const (); 3] {
        match suite {
            SupportedCipherSuite::Tls12(suite) => [
                std::ptr::from_ref(suite.aead_alg).cast(),
                std::ptr::from_ref(suite.prf_provider).cast(),
                std::ptr::from_ref(suite.common.hash_provider).cast(),
            ],
            SupportedCipherSuite::Tls13(suite) => [
                std::ptr::from_ref(suite.aead_alg).cast(),
                std::ptr::from_ref(suite.hkdf_provider).cast(),
                std::ptr::from_ref(suite.common.hash_provider).cast(),
            ],
        }
    }

    #[test]
    fn ring_has_the_records_of_aes_and_nothing_else() {
        let (mixed, own) = (Library::Ring.provider().cipher_suites, Library::AwsLc.provider().cipher_suites);
        assert_eq!((mixed.len(), own.len()), (9, 9));
        for (mixed, own) in mixed.iter().zip(&own) {
            let name = own.suite();
            assert_eq!(mixed.suite(), name, "the order is the same");
            let rings = ring::ALL_CIPHER_SUITES.iter().find(|suite| suite.suite() == name).unwrap();
            let enciphers = if AES.contains(&name) { rings } else { own };
            let [_, derives, hashes] = parts(own);
            assert_eq!(parts(mixed), [parts(enciphers)[0], derives, hashes], "{name:?}");
            assert_eq!(parts(mixed)[0] != parts(own)[0], AES.contains(&name), "{name:?}");
        }
    }

    /// The system's own word on the processor.
    #[test]
    fn the_processor_decides() {
        let said = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags: Vec<&str> =
            said.lines().find(|line| line.starts_with("flags")).map_or("", |line| line).split(' ').collect();
        let all = |wanted: &[&str]| wanted.iter().all(|flag| flags.contains(flag));
        let short_alone =
            all(&["vaes", "vpclmulqdq", "avx2"]) && !all(&["avx512f", "avx512bw", "avx512dq", "avx512vl"]);
        let expected = if short_alone { Library::Ring } else { Library::AwsLc };
        assert_eq!(Library::of_this_machine(), expected);
    }

    #[test]
    fn either_library_reads_what_the_other_one_wrote_in_every_suite() {
        let text: Vec<u8> = (0..16_384_u32).map(|n| n as u8).collect();
        for at in 0..Library::AwsLc.provider().cipher_suites.len() {
            for (server, client) in [(Library::Ring, Library::AwsLc), (Library::AwsLc, Library::Ring)] {
                let (mut there, mut here) = pair(alone(server, at), alone(client, at));
                for length in [1, 15, 16, 17, 255, 4097, 16_384] {
                    let text = &text[..length];
                    assert_eq!(said(&mut here, &mut there, text), text, "{server:?}, suite {at}, {length} bytes");
                    assert_eq!(said(&mut there, &mut here, text), text, "{server:?}, suite {at}, {length} bytes");
                }
            }
        }
    }
}
