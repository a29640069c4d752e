//! Which library enciphers the records of TLS.
//!
//! ```text
//! AVX-512 with VAES (server processors of Intel, AMD's from Zen 4 on)   aws-lc-rs
//! AVX2 with VAES    (AMD's Zen 3, Intel's without AVX-512)              ring: AES-GCM takes half of aws-lc-rs's time
//! anything else                                                         aws-lc-rs
//! ```
//!
//! Guarantees: the suites and their order are the same whoever enciphers. Key exchange, signatures, random numbers and all
//! that is no record are aws-lc-rs's on every machine. Does not: choose a suite; that is the handshake's.

use rustls::SupportedCipherSuite;
use rustls::crypto::{CryptoProvider, aws_lc_rs, ring};

/// Who enciphers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    AwsLc,
    Ring,
}

impl Library {
    /// The quicker one on this machine.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn of_this_machine() -> Self {
        use std::arch::is_x86_feature_detected as has;
        let vectors = has!("vaes") && has!("vpclmulqdq") && has!("avx2");
        let wide = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        if vectors && !wide { Self::Ring } else { Self::AwsLc }
    }

    /// The quicker one on this machine.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) const fn of_this_machine() -> Self {
        Self::AwsLc
    }

    /// aws-lc-rs, with records of this library.
    pub(super) fn provider(self) -> CryptoProvider {
        let mut provider = aws_lc_rs::default_provider();
        match self {
            Self::AwsLc => {}
            Self::Ring => provider.cipher_suites.iter_mut().for_each(|suite| *suite = of_ring(*suite)),
        }
        provider
    }
}

/// The same suite of ring, where it has it.
fn of_ring(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    ring::ALL_CIPHER_SUITES.iter().find(|other| other.suite() == suite.suite()).copied().unwrap_or(suite)
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
        while here.is_handshaking() || there.is_handshaking() {
            carry(&mut here, &mut there);
            carry(&mut there, &mut here);
        }
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

    #[test]
    fn suites_and_their_order_are_the_same_whoever_enciphers() {
        let names = |library: Library| -> Vec<_> {
            library.provider().cipher_suites.iter().map(SupportedCipherSuite::suite).collect()
        };
        assert_eq!(names(Library::Ring), names(Library::AwsLc));
        assert_eq!(names(Library::AwsLc).len(), 9);
    }

    #[test]
    fn every_suite_is_the_librarys_own() {
        let rows = [(Library::Ring, ring::ALL_CIPHER_SUITES), (Library::AwsLc, aws_lc_rs::ALL_CIPHER_SUITES)];
        for (library, own) in rows {
            let found = library.provider().cipher_suites;
            assert!(found.iter().all(|suite| own.iter().any(|one| is_the_same(suite, one))), "{library:?}");
        }
    }

    /// `==` asks for the name alone.
    fn is_the_same(one: &SupportedCipherSuite, other: &SupportedCipherSuite) -> bool {
        match (one, other) {
            (SupportedCipherSuite::Tls12(one), SupportedCipherSuite::Tls12(other)) => std::ptr::eq(*one, *other),
            (SupportedCipherSuite::Tls13(one), SupportedCipherSuite::Tls13(other)) => std::ptr::eq(*one, *other),
            _ => false,
        }
    }

    #[test]
    fn either_library_reads_what_the_other_one_wrote_in_every_suite() {
        let text: Vec<u8> = (0..12_000_u32).map(|n| n as u8).collect();
        for at in 0..Library::AwsLc.provider().cipher_suites.len() {
            for (server, client) in [(Library::Ring, Library::AwsLc), (Library::AwsLc, Library::Ring)] {
                let (mut there, mut here) = pair(alone(server, at), alone(client, at));
                for length in [1, 15, 16, 17, 255, 4097, 12_000] {
                    let text = &text[..length];
                    assert_eq!(said(&mut here, &mut there, text), text, "{server:?}, suite {at}, {length} bytes");
                    assert_eq!(said(&mut there, &mut here, text), text, "{server:?}, suite {at}, {length} bytes");
                }
            }
        }
    }
}
