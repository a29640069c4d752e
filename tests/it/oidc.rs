//! Tokens of an outside issuer: a provider on loopback with TLS of its own, its keys, its claims and our roles.

use crate::harness::gateway::field;
use crate::harness::{Gateway, Ollama, Request, Setup, routes};
use crate::tokens::changed;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// An issuer: discovery and a JWKS, and the private halves of its keys.
pub(crate) struct Provider {
    address: SocketAddr,
    pub(crate) root: String,
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
    rsa: RsaKeyPair,
    /// What is answered as the JWKS.
    keys: Arc<Mutex<Value>>,
    pub(crate) asked: Arc<AtomicUsize>,
    pub(crate) discovery: Arc<Mutex<Value>>,
    /// What a code is exchanged for, and the form that it came in.
    pub(crate) token: Arc<Mutex<Value>>,
    pub(crate) form: Arc<Mutex<String>>,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let (authority, leaf, key) = certificate();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ed = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref());
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let issuer = format!("https://localhost:{}", address.port());
        let discovery = Arc::new(Mutex::new(json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys"),
            "authorization_endpoint": format!("{issuer}/authorize"), "token_endpoint": format!("{issuer}/token")})));
        let provider = Self {
            address,
            root: authority,
            ed: ed.unwrap(),
            ec,
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            keys: Arc::default(),
            asked: Arc::default(),
            discovery,
            token: Arc::default(),
            form: Arc::default(),
        };
        *provider.keys.lock().unwrap() = provider.jwks();
        let (asked, discovery) = (Arc::clone(&provider.asked), Arc::clone(&provider.discovery));
        let (token, form, keys) = (Arc::clone(&provider.token), Arc::clone(&provider.form), Arc::clone(&provider.keys));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap_or(0);
                asked.fetch_add(1, Ordering::SeqCst);
                let is_keys = head[..length].starts_with(b"GET /keys ");
                let is_token = head.starts_with(b"POST /token ");
                if is_token {
                    *form.lock().unwrap() = String::from_utf8_lossy(&head[..length]).into_owned();
                }
                let body = match (is_keys, is_token) {
                    (true, _) => keys.lock().unwrap().to_string(),
                    (_, true) => token.lock().unwrap().to_string(),
                    _ => discovery.lock().unwrap().to_string(),
                };
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
            }
        });
        provider
    }

    pub(crate) fn issuer(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    fn jwks(&self) -> Value {
        let (ed, ec) = (self.ed.public_key().as_ref(), self.ec.public_key().as_ref());
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let rsa = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        let (n, e) = (encoded(&rsa.n), encoded(&rsa.e));
        json!({"keys": [
            {"kty": "RSA", "kid": "rs", "use": "sig", "n": n, "e": e},
            {"kty": "RSA", "kid": "ps", "use": "sig", "alg": "PS256", "n": n, "e": e},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "alg": "EdDSA", "x": encoded(ed)},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": encoded(&ec[1..33]), "y": encoded(&ec[33..])},
            {"kty": "oct", "kid": "shared", "k": encoded(b"0123456789abcdef0123456789abcdef")},
        ]})
    }

    pub(crate) fn claims(&self) -> Value {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        json!({"iss": self.issuer(), "aud": ["ollama", "account"], "sub": "f:1:ana", "iat": now, "exp": now + 300,
               "realm_access": {"roles": ["offline", "staff"]}, "name": "Ana"})
    }

    pub(crate) fn sign(&self, header: Value, claims: &Value) -> String {
        let header = changed(json!({"alg": "EdDSA", "kid": "ed", "typ": "JWT"}), header);
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let by_rsa = |padding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
            signature
        };
        let signature = match header["alg"].as_str() {
            Some("RS256") => by_rsa(&RSA_PKCS1_SHA256),
            Some("PS256") => by_rsa(&RSA_PSS_SHA256),
            Some("ES256") => self.ec.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
            _ => self.ed.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Tokens that verifiers with known faults let in: `(0, 0)` and `(n, n)` for ES256 (CVE-2022-21449), the neutral point
    /// for Ed25519, zeros for RSA, and the public key as the secret of an HMAC.
    fn forged(&self, claims: &Value) -> Vec<String> {
        const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
        let n: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&N[at..at + 2], 16).unwrap()).collect();
        let neutral = [&[1][..], &[0; 63]].concat();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text =
            |algorithm: &str, kid: &str| format!("{}.{}", part(&json!({"alg": algorithm, "kid": kid})), part(claims));
        let forged = |algorithm: &str, kid: &str, signature: &[u8]| {
            format!("{}.{}", text(algorithm, kid), URL_SAFE_NO_PAD.encode(signature))
        };
        let zeros = vec![0; self.rsa.public_modulus_len()];
        let mut tokens = vec![
            forged("ES256", "ec", &[0; 64]),
            forged("ES256", "ec", &[n.as_slice(), &n].concat()),
            forged("EdDSA", "ed", &[0; 64]),
            forged("EdDSA", "ed", &neutral),
            forged("RS256", "rs", &zeros),
            forged("PS256", "ps", &zeros),
        ];
        let components = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        for secret in [self.rsa.public_key().as_ref(), &components.n] {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            tokens.push(forged("HS256", "rs", hmac::sign(&key, text("HS256", "rs").as_bytes()).as_ref()));
        }
        tokens
    }

    async fn gateway(&self) -> (Ollama, Gateway) {
        let ollama = routes::recorded().await;
        let setup = self.believed(Setup::before(&ollama), "boss = \"admin\", staff = \"user\"");
        (ollama, setup.start().await)
    }

    /// A configuration that believes it, with this table of roles.
    pub(crate) fn believed(&self, setup: Setup, roles: &str) -> Setup {
        let root = setup.file("issuer.pem");
        std::fs::write(&root, &self.root).unwrap();
        let oidc = format!(
            "[{{ issuer = \"{}\", audience = \"ollama\", role_claim = \"realm_access.roles\", root = {root:?}, \
             roles = {{ {roles} }} }}]",
            self.issuer()
        );
        setup.set("auth", "oidc", &oidc)
    }
}

/// An authority, and a certificate of it for this machine: both as PEM and DER.
pub(crate) fn certificate() -> (String, rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    (authority.pem(), leaf, key)
}

async fn tags(gateway: &Gateway, token: &str) -> crate::harness::client::Answer {
    gateway.send(Request::get("/api/version").key(token)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_issuer_has_the_role_that_its_claim_means() {
    let provider = Provider::start().await;
    let (_ollama, gateway) = provider.gateway().await;
    gateway.event("issuer_keys").await;
    let claims = provider.claims();
    let answer = tags(&gateway, &provider.sign(json!({}), &claims)).await.expect(200);
    let record = gateway.record(answer.id()).await;
    let principal = format!("oidc:localhost:{}:f:1:ana", provider.address.port());
    assert_eq!((field(&record, "principal"), field(&record, "role")), (principal, "user".to_owned()));
    for (algorithm, kid) in [("ES256", "ec"), ("RS256", "rs"), ("PS256", "ps")] {
        let token = provider.sign(json!({"alg": algorithm, "kid": kid}), &claims);
        tags(&gateway, &token).await.expect(200);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        tags(&gateway, &format!("{signed}.{other}{}", &signature[1..])).await.expect(401);
    }
    let delete = |claims: &Value| {
        let request = Request::new("DELETE", "/api/delete").header("Content-Type", "application/json");
        request.body("{\"model\":\"tiny\"}").key(&provider.sign(json!({}), claims))
    };
    gateway.send(delete(&claims)).await.expect(403);
    let boss = changed(claims, json!({"realm_access": {"roles": ["staff", "boss"]}}));
    gateway.send(delete(&boss)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_and_asks_the_issuer_nothing() {
    let provider = Provider::start().await;
    let (ollama, gateway) = provider.gateway().await;
    gateway.event("issuer_keys").await;
    let (asked, before) = (provider.asked.load(Ordering::SeqCst), ollama.count());
    assert_eq!(asked, 2, "discovery and the keys, once");
    let claims = provider.claims();
    let said = |changes: Value| provider.sign(json!({}), &changed(claims.clone(), changes));
    let exp = claims["exp"].as_i64().unwrap();
    let mut wrong = vec![
        said(json!({"aud": "account"})),
        said(json!({"iss": "https://localhost"})),
        said(json!({"exp": exp - 400})),
        said(json!({"exp": exp + 100_000})),
        said(json!({"iat": null})),
        said(json!({"nbf": exp})),
        said(json!({"nonce": "n"})),
        said(json!({"sub": null})),
        said(json!({"realm_access": {"roles": ["offline"]}})),
        said(json!({"realm_access": {"roles": "staff boss"}})),
        said(json!({"realm_access": null, "role": "admin"})),
        provider.sign(json!({"alg": "ES256"}), &claims),
        provider.sign(json!({"alg": "PS256", "kid": "rs"}), &claims),
        provider.sign(json!({"alg": "RS256", "kid": "ps"}), &claims),
        provider.sign(json!({"alg": "RS256", "kid": "ec"}), &claims),
        provider.sign(json!({"alg": "HS256", "kid": "shared"}), &claims),
        provider.sign(json!({"kid": null}), &claims),
        provider.sign(json!({"alg": "none"}), &claims),
        provider.sign(json!({"jku": format!("{}/keys", provider.issuer())}), &claims),
    ];
    wrong.extend(provider.forged(&claims));
    wrong.extend((0..30).map(|n| provider.sign(json!({"kid": format!("unknown-{n}")}), &claims)));
    for token in wrong {
        let answer = tags(&gateway, &token).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "credential_invalid"), "{token}");
    }
    assert_eq!(provider.asked.load(Ordering::SeqCst), asked, "no request makes it ask");
    assert_eq!(ollama.count(), before);
    tags(&gateway, &provider.sign(json!({}), &claims)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_says_it_is_another_is_not_believed() {
    let provider = Provider::start().await;
    provider.discovery.lock().unwrap()["issuer"] = json!("https://other.example.org");
    let (_ollama, gateway) = provider.gateway().await;
    gateway.event("issuer_unreachable").await;
    tags(&gateway, &provider.sign(json!({}), &provider.claims())).await.expect(401);
    let port = provider.address.port();
    for uri in [format!("http://localhost:{port}/keys"), "file:///etc/passwd".to_owned()] {
        let provider = Provider::start().await;
        provider.discovery.lock().unwrap()["jwks_uri"] = json!(uri);
        let (_ollama, gateway) = provider.gateway().await;
        let event = gateway.event("issuer_unreachable").await;
        assert!(field(&event, "error").contains("no https URL"), "{event}");
    }
}

/// The minute that lies between two looks at the issuer's keys is waited for: it is the promise.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_found_and_one_that_was_withdrawn_opens_nothing() {
    let provider = Provider::start().await;
    let all = provider.jwks()["keys"].clone();
    let only = |kid: &str| {
        let keys: Vec<_> = all.as_array().unwrap().iter().filter(|key| key["kid"] == kid).cloned().collect();
        *provider.keys.lock().unwrap() = json!({ "keys": keys });
    };
    only("rs");
    let (_ollama, gateway) = provider.gateway().await;
    gateway.event("issuer_keys").await;
    let claims = provider.claims();
    let old = provider.sign(json!({"alg": "RS256", "kid": "rs"}), &claims);
    let new = provider.sign(json!({"alg": "ES256", "kid": "ec"}), &claims);
    tags(&gateway, &old).await.expect(200);
    tags(&gateway, &new).await.expect(401);
    only("ec");
    let looked = tokio::time::timeout(std::time::Duration::from_secs(90), async {
        while tags(&gateway, &new).await.status != 200 {
            // Each of these asks for the key; the issuer is asked once a minute all the same.
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        }
    });
    looked.await.expect("the new key was not found");
    tags(&gateway, &old).await.expect(401);
    assert_eq!(provider.asked.load(Ordering::SeqCst), 4, "discovery and the keys, twice");
}
