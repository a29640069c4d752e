//! Tokens of an outside issuer: a provider on loopback with TLS of its own, its keys, its claims and our roles.

use crate::harness::gateway::field;
use crate::harness::{Gateway, Ollama, Request, Setup, routes};
use crate::tokens::changed;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
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
            asked: Arc::default(),
            discovery,
            token: Arc::default(),
            form: Arc::default(),
        };
        let jwks = provider.jwks();
        let (asked, discovery) = (Arc::clone(&provider.asked), Arc::clone(&provider.discovery));
        let (token, form) = (Arc::clone(&provider.token), Arc::clone(&provider.form));
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
                    (true, _) => jwks.to_string(),
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
        json!({"keys": [
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
        let signature = if header["kid"] == "ec" {
            self.ec.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec()
        } else {
            self.ed.sign(signed.as_bytes()).as_ref().to_vec()
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    async fn gateway(&self) -> (Ollama, Gateway) {
        let ollama = routes::recorded().await;
        let setup = Setup::before(&ollama);
        let root = setup.file("issuer.pem");
        std::fs::write(&root, &self.root).unwrap();
        let oidc = format!(
            "[{{ issuer = \"{}\", audience = \"ollama\", role_claim = \"realm_access.roles\", root = {root:?}, \
             roles = {{ boss = \"admin\", staff = \"user\" }} }}]",
            self.issuer()
        );
        (ollama, setup.set("auth", "oidc", &oidc).start().await)
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
    tags(&gateway, &provider.sign(json!({"alg": "ES256", "kid": "ec"}), &claims)).await.expect(200);
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
        provider.sign(json!({"alg": "HS256", "kid": "shared"}), &claims),
        provider.sign(json!({"kid": null}), &claims),
        provider.sign(json!({"alg": "none"}), &claims),
        provider.sign(json!({"jku": format!("{}/keys", provider.issuer())}), &claims),
    ];
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
