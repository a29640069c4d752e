//! Every attack on a token that `threats.md` §4.6 names: refused for its own reason, by the same answer, with nothing
//! fetched and nothing sent on.

use crate::harness::{Gateway, Ollama, Request, Setup, routes};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use ollama_gateway::config::{self, Environment};
use ollama_gateway::identity::tokens::{MAX_TOKEN, PresentedToken, TokenKeys, TokenRefusal};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_800_000_000;
const LIFETIME: i64 = 3600;

fn keys(toml: &str) -> TokenKeys {
    let environment = Environment([("SECRET".to_owned(), SECRET.to_owned())].into());
    let text = format!(
        "[server]\nnames = [\"localhost\"]\n[tls]\ncertificate = \"self-signed\"\n[auth.jwt]\nlifetime = \"1h\"\n{toml}"
    );
    TokenKeys::new(&config::parse("gateway.toml", &text, &environment).unwrap().auth.jwt)
}

fn hs256() -> TokenKeys {
    keys("secret = \"env:SECRET\"\n")
}

fn claims_at(now: i64) -> Value {
    json!({ "iss": "https://localhost", "aud": "ollama-gateway", "sub": "ana", "role": "user", "iat": now, "nbf": now,
            "exp": now + LIFETIME, "jti": "a-1" })
}

fn claims(changes: Value) -> Value {
    changed(claims_at(NOW), changes)
}

/// A member that is `null` here is taken out.
pub(crate) fn changed(mut value: Value, changes: Value) -> Value {
    let members = value.as_object_mut().unwrap();
    for (name, change) in changes.as_object().unwrap() {
        if change.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), change.clone());
        }
    }
    value
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signed with the right secret, whatever it says.
fn sign_text(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", encoded(header.as_bytes()), encoded(claims.as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", encoded(tag.as_ref()))
}

pub(crate) fn sign(header: Value, claims: &Value) -> String {
    sign_text(&changed(json!({"alg": "HS256", "typ": "at+jwt"}), header).to_string(), &claims.to_string())
}

fn good(now: i64) -> String {
    sign(json!({}), &claims_at(now))
}

fn at(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap())
}

fn refusal(keys: &TokenKeys, token: &str) -> Option<TokenRefusal> {
    keys.verify(&PresentedToken::of(token).unwrap(), at(NOW)).err()
}

/// In the header.
fn header_attacks(fetched: &str) -> Vec<(&'static str, String, TokenRefusal)> {
    use TokenRefusal as R;
    let said = |header: Value| sign(header, &claims(json!({})));
    let raw = |header: &str| sign_text(header, &claims(json!({})).to_string());
    let url = |name: &str| said(json!({ name: format!("http://{fetched}/{name}") }));
    vec![
        ("alg none", said(json!({"alg": "none"})), R::Algorithm),
        ("alg None", said(json!({"alg": "None"})), R::Algorithm),
        ("alg nOnE", said(json!({"alg": "nOnE"})), R::Algorithm),
        ("alg empty", said(json!({"alg": ""})), R::Algorithm),
        ("alg missing", said(json!({"alg": null})), R::Algorithm),
        ("alg of another hash", said(json!({"alg": "HS512"})), R::Algorithm),
        ("alg of another family", said(json!({"alg": "RS256"})), R::Algorithm),
        ("alg in lower case", said(json!({"alg": "hs256"})), R::Algorithm),
        ("alg is a list", said(json!({"alg": ["HS256"]})), R::Header),
        ("alg twice", raw(r#"{"alg":"none","alg":"HS256"}"#), R::Header),
        ("kid a path", said(json!({"kid": "../../dev/null"})), R::Header),
        ("kid a statement", said(json!({"kid": "x' UNION SELECT 'key"})), R::Header),
        ("kid of 10 KB", said(json!({"kid": "k".repeat(10_240)})), R::TooLarge),
        ("kid of 65 characters", said(json!({"kid": "k".repeat(65)})), R::Header),
        ("kid unknown", said(json!({"kid": "other"})), R::UnknownKey),
        ("kid empty", said(json!({"kid": ""})), R::Header),
        ("kid twice", raw(r#"{"alg":"HS256","kid":"a","kid":"b"}"#), R::Header),
        ("jku", url("jku"), R::Header),
        ("x5u", url("x5u"), R::Header),
        ("jwk", said(json!({"jwk": {"kty": "oct", "k": encoded(b"x")}})), R::Header),
        ("x5c", said(json!({"x5c": ["MIIB"]})), R::Header),
        ("crit", said(json!({"crit": ["exp"]})), R::Header),
        ("crit b64", said(json!({"crit": ["b64"], "b64": false})), R::Header),
        ("b64", said(json!({"b64": false})), R::Header),
        ("zip", said(json!({"zip": "DEF"})), R::Header),
        ("an encrypted token's header", said(json!({"enc": "A128GCM"})), R::Header),
        ("typ of something else", said(json!({"typ": "logout+jwt"})), R::Type),
        ("header no object", raw("[]"), R::Header),
        ("header no JSON", raw("HS256"), R::Header),
    ]
}

/// In the claims.
fn claim_attacks() -> Vec<(&'static str, String, TokenRefusal)> {
    use TokenRefusal as R;
    let said = |changes: Value| sign(json!({}), &claims(changes));
    let raw = |from: &str, to: &str| sign_text(r#"{"alg":"HS256"}"#, &claims(json!({})).to_string().replace(from, to));
    vec![
        ("exp missing", said(json!({"exp": null})), R::Claims),
        ("exp past", said(json!({"exp": NOW - 31, "iat": NOW - 60, "nbf": NOW - 60})), R::Expired),
        ("exp negative", said(json!({"exp": -1})), R::Claims),
        ("exp a text", said(json!({"exp": "1800003600"})), R::Claims),
        ("exp a fraction", raw("\"exp\":1800003600", "\"exp\":1800003600.0"), R::Claims),
        ("exp 1e300", raw("\"exp\":1800003600", "\"exp\":1e300"), R::Claims),
        ("exp beyond 64 bits", raw("\"exp\":1800003600", "\"exp\":18446744073709551616"), R::Claims),
        ("exp twice", raw("\"exp\":1800003600", "\"exp\":1,\"exp\":1800003600"), R::Claims),
        ("nbf missing", said(json!({"nbf": null})), R::Claims),
        ("nbf to come", said(json!({"nbf": NOW + 31})), R::NotYet),
        ("nbf a text", said(json!({"nbf": "0"})), R::Claims),
        ("iat to come", said(json!({"iat": NOW + 31})), R::NotYet),
        ("a longer life than tokens have", said(json!({"exp": NOW + LIFETIME + 31})), R::Lifetime),
        ("the same by a late nbf", said(json!({"iat": NOW - 60, "exp": NOW + LIFETIME})), R::Lifetime),
        ("aud missing", said(json!({"aud": null})), R::Audience),
        ("aud of another", said(json!({"aud": "other"})), R::Audience),
        ("aud a longer one", said(json!({"aud": "ollama-gateway-2"})), R::Audience),
        ("aud a list of others", said(json!({"aud": ["other", "third"]})), R::Audience),
        ("aud a list of anything", said(json!({"aud": ["ollama-gateway", 1]})), R::Audience),
        ("iss missing", said(json!({"iss": null})), R::Issuer),
        ("iss of another", said(json!({"iss": "https://localhost.example"})), R::Issuer),
        ("iss a list", said(json!({"iss": ["https://localhost"]})), R::Issuer),
        ("an ID token by its nonce", said(json!({"nonce": "x"})), R::Type),
        ("an ID token by its at_hash", said(json!({"at_hash": "x"})), R::Type),
        ("sub missing", said(json!({"sub": null})), R::Claims),
        ("sub a list", said(json!({"sub": ["ana"]})), R::Claims),
        ("sub with a line break", said(json!({"sub": "ana\nbob"})), R::Claims),
        ("role missing", said(json!({"role": null})), R::Claims),
        ("role a list", said(json!({"role": ["user", "admin"]})), R::Claims),
        ("claims no object", sign_text(r#"{"alg":"HS256"}"#, "[]"), R::Claims),
    ]
}

/// In the shape and the signature.
fn shape_attacks() -> Vec<(&'static str, String, TokenRefusal)> {
    use TokenRefusal as R;
    let token = good(NOW);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    // The last character of 32 bytes carries two bits that mean nothing.
    let last = signature.chars().last().unwrap();
    let twin = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let twin = twin.as_bytes()[twin.find(last).unwrap() + 1] as char;
    let other = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), signed.as_bytes());
    let padded = URL_SAFE.encode(&bytes);
    let odd = STANDARD.encode([0xfb; 32]).trim_end_matches('=').to_owned();
    vec![
        ("no signature", format!("{signed}."), R::Malformed),
        ("two parts", signed.to_owned(), R::Malformed),
        ("four parts", format!("{token}.x"), R::Malformed),
        ("an encrypted token's five parts", format!("{token}.x.y"), R::Malformed),
        ("dots alone", "..".to_owned(), R::Malformed),
        ("padding", format!("{signed}.{padded}"), R::Malformed),
        ("white space after", format!("{token} "), R::Malformed),
        ("white space before", format!(" {token}"), R::Malformed),
        ("a line break within", token.replacen('.', "\n.", 1), R::Malformed),
        ("the alphabet of plain base64", format!("{signed}.{odd}"), R::Malformed),
        ("bits that mean nothing", format!("{}{twin}", &token[..token.len() - 1]), R::Malformed),
        ("another secret", format!("{signed}.{}", encoded(other.as_ref())), R::Signature),
        ("a shortened signature", format!("{signed}.{}", encoded(&bytes[..31])), R::Signature),
        ("a signature of zeros", format!("{signed}.{}", encoded(&[0; 32])), R::Signature),
        (
            "changed claims",
            format!("{}.{}.{signature}", token.split('.').next().unwrap(), encoded(b"{}")),
            R::Signature,
        ),
        ("more than 4 KiB", format!("{}.{signed}", "A".repeat(MAX_TOKEN)), R::TooLarge),
    ]
}

#[test]
fn every_attack_is_refused_for_its_own_reason() {
    let keys = hs256();
    assert_eq!(refusal(&keys, &good(NOW)), None);
    let all = [header_attacks("192.0.2.1"), claim_attacks(), shape_attacks()].concat();
    let wrong: Vec<_> = all
        .iter()
        .filter(|(_, token, reason)| refusal(&keys, token) != Some(*reason))
        .map(|(name, token, reason)| format!("{name}: {:?} instead of {reason:?}", refusal(&keys, token)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn clocks_may_differ_by_thirty_seconds() {
    let keys = hs256();
    let early = json!({"iat": NOW + 30, "nbf": NOW + 30, "exp": NOW + 600});
    let late = json!({"iat": NOW - 600, "nbf": NOW - 600, "exp": NOW - 29});
    for changes in [early, late] {
        assert_eq!(refusal(&keys, &sign(json!({}), &claims(changes))), None);
    }
    for typ in [json!("JWT"), json!("at+JWT"), json!("application/at+jwt"), Value::Null] {
        assert_eq!(refusal(&keys, &sign(json!({"typ": typ}), &claims(json!({})))), None);
    }
    let several = claims(json!({"aud": ["other", "ollama-gateway"], "jti": null}));
    assert_eq!(refusal(&keys, &sign(json!({}), &several)), None);
}

/// The classic: what a server publishes for one algorithm is the secret of another.
#[test]
fn a_public_key_is_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let path = folder.path().join("key.pem");
    std::fs::write(&path, pair.serialize_pem()).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let keys = keys(&format!("keys = [\"file:{}\"]\n", path.display()));
    let jwks: Value = serde_json::from_str(keys.jwks()).unwrap();
    let (kid, x) = (jwks["keys"][0]["kid"].clone(), jwks["keys"][0]["x"].as_str().unwrap());
    let public = URL_SAFE_NO_PAD.decode(x).unwrap();
    for secret in [public.clone(), x.as_bytes().to_vec(), pair.public_key_pem().into_bytes()] {
        for header in [json!({"alg": "HS256", "kid": kid}), json!({"alg": "EdDSA", "kid": kid})] {
            let signed = [header, claims(json!({}))].map(|part| encoded(part.to_string().as_bytes())).join(".");
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
            assert!(refusal(&keys, &format!("{signed}.{}", encoded(tag.as_ref()))).is_some());
        }
    }
    let signed = [json!({"alg": "EdDSA", "kid": kid}), claims(json!({}))];
    let signed = signed.map(|part| encoded(part.to_string().as_bytes())).join(".");
    for forged in [[0_u8; 64].to_vec(), [[1_u8].as_slice(), &[0; 63]].concat(), vec![0; 63]] {
        assert_eq!(refusal(&keys, &format!("{signed}.{}", encoded(&forged))), Some(TokenRefusal::Signature));
    }
    let signer = aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(pair.serialized_der()).unwrap();
    let right = format!("{signed}.{}", encoded(signer.sign(signed.as_bytes()).as_ref()));
    assert_eq!(refusal(&keys, &right), None);
}

/// The example of RFC 7515, appendix A.1: its signature is right, and it says nothing that counts here.
#[test]
fn the_example_of_rfc_7515_has_a_right_signature() {
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9le\
                 GFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &URL_SAFE_NO_PAD.decode(key).unwrap());
    hmac::verify(&key, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    assert_eq!(refusal(&hs256(), token), Some(TokenRefusal::Signature));
}

async fn verifying() -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).environment("SECRET", SECRET).set("auth.jwt", "lifetime", "\"1h\"");
    let gateway = setup.set("auth.jwt", "secret", "\"env:SECRET\"").start().await;
    (ollama, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_gets_through_the_gateway_and_none_makes_it_dial() {
    let (ollama, gateway) = verifying().await;
    let lure = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    lure.set_nonblocking(true).unwrap();
    let now = i64::try_from(ollama_gateway::telemetry::clock::unix_seconds(SystemTime::now())).unwrap();
    gateway.send(Request::get("/api/version").key(&good(now))).await.expect(200);
    let before = ollama.count();
    let lured = lure.local_addr().unwrap().to_string();
    for (name, token, _) in [header_attacks(&lured), claim_attacks(), shape_attacks()].concat() {
        if token.contains('\n') {
            continue; // no header can hold it
        }
        let answer = gateway.send(Request::get("/api/ps").key(&token)).await;
        assert_eq!(answer.status, 401, "{name}");
        assert_eq!(answer.code(), "credential_invalid", "{name}");
    }
    let unknown_role = sign(json!({}), &changed(claims_at(now), json!({"role": "root"})));
    gateway.send(Request::get("/api/ps").key(&unknown_role)).await.expect(401);
    assert_eq!(ollama.count(), before, "nothing is sent on");
    assert!(lure.accept().is_err(), "nothing is fetched");
    assert!(!gateway.log_text().contains(&good(now)[..40]), "no token is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_others_has_the_rights_of_its_role() {
    let (_ollama, gateway) = verifying().await;
    let now = i64::try_from(ollama_gateway::telemetry::clock::unix_seconds(SystemTime::now())).unwrap();
    let token = |role: &str| sign(json!({}), &changed(claims_at(now), json!({ "role": role })));
    let delete = |token: &str| {
        let body = json!({"model": "tiny"}).to_string();
        Request::new("DELETE", "/api/delete").header("Content-Type", "application/json").body(body).key(token)
    };
    gateway.send(delete(&token("user"))).await.expect(403);
    gateway.send(delete(&token("admin"))).await.expect(200);
    let answer = gateway.send(Request::get("/api/version").key(&token("user"))).await.expect(200);
    assert_eq!(crate::harness::gateway::field(&gateway.record(answer.id()).await, "principal"), "token:ana");
    let form = Request::new("POST", "/auth/token").header("Content-Type", "application/x-www-form-urlencoded");
    gateway.send(form.body("grant_type=password")).await.expect(404);
}
