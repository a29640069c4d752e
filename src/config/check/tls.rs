//! `[tls]` and `[tls.acme]`.

use std::path::{Path, PathBuf};

use super::client::client;
use super::roles::Roles;
use crate::config::Environment;
use crate::config::error::Wrong;
use crate::config::quantity::quoted;
use crate::config::raw::{Item, Section, not_one_of};
use crate::config::secret::Reference;
use crate::config::types::{
    Acme, Certificate, CertificateFiles, Challenge, ExternalAccount, MissingSni, Server, Tls, TlsVersion,
};

const DEFAULT_HSTS: &str = "max-age=31536000; includeSubDomains";
const SOURCES: &str =
    "\"acme\", \"self-signed\" or { chain = \"certs/fullchain.pem\", key = \"certs/privkey.pem\" }, or a list of such";
const DIRECTORIES: [(&str, &str); 2] = [
    ("letsencrypt", "https://acme-v02.api.letsencrypt.org/directory"),
    ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
];

pub(super) fn tls(mut tls: Section<'_>, (server, roles): (&Server, &Roles), environment: &Environment) -> Tls {
    let certificate = tls.read("certificate", Some(Certificate::Acme), certificate).unwrap_or(Certificate::SelfSigned);
    let section = tls.section("acme");
    if certificate != Certificate::Acme && section.is_written() {
        let text = "is set, but tls.certificate is not \"acme\": acme would never be used";
        section.wrong(Wrong::new(text).hint("keep one of the two"));
    }
    let acme = acme(section, server, environment);
    let acme = (certificate == Certificate::Acme).then_some(acme);
    if let Some(acme) = &acme {
        certifiable(&tls, acme, server);
    }
    let client = client(tls.section("client"), server, roles);
    let versions = [("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];
    let unnamed = [("serve", MissingSni::Serve), ("refuse", MissingSni::Refuse)];
    Tls {
        certificate,
        min_version: tls.choice("min_version", &versions, TlsVersion::V12),
        hsts: tls.read("hsts", DEFAULT_HSTS.to_owned(), |item| hsts(item.text()?)),
        missing_sni: tls.choice("missing_sni", &unnamed, MissingSni::Serve),
        acme,
        client,
    }
}

/// `None`: files, with a fault that is noted.
fn certificate(item: &Item<'_>) -> Result<Option<Certificate>, Wrong> {
    if let Some(section) = item.section() {
        return Ok(files(section).map(|files| Certificate::Files(vec![files])));
    }
    if let Ok(items) = item.items() {
        if items.is_empty() {
            return Err(Wrong::new("is empty").hint(SOURCES));
        }
        let all: Vec<_> = items.iter().filter_map(listed).collect();
        return Ok((all.len() == items.len()).then_some(Certificate::Files(all)));
    }
    match item.text().map_err(|_| item.type_fault("\"acme\", \"self-signed\" or { chain = …, key = … }"))? {
        "acme" => Ok(Some(Certificate::Acme)),
        "self-signed" => Ok(Some(Certificate::SelfSigned)),
        other => Err(Wrong::new(format!("{} is unknown", quoted(other))).hint(SOURCES)),
    }
}

/// One of a list.
fn listed(item: &Item<'_>) -> Option<CertificateFiles> {
    match item.section() {
        Some(section) => files(section),
        None => {
            item.wrong(item.type_fault("{ chain = …, key = … }"));
            None
        }
    }
}

/// `{ chain = …, key = … }`
fn files(mut files: Section<'_>) -> Option<CertificateFiles> {
    let chain = path_of(&mut files, "chain", "the certificate and what it was issued by, PEM");
    let key = path_of(&mut files, "key", "its private key, PEM");
    chain.zip(key).map(|(chain, key)| CertificateFiles { chain, key })
}

pub(super) fn path_of(files: &mut Section<'_>, key: &'static str, hint: &str) -> Option<PathBuf> {
    let folder = files.source().folder();
    files.missing(key, hint);
    files.item(key)?.read(|item| path(folder, item.text()?))
}

/// A path; a relative one starts from the folder of the configuration.
pub(super) fn path(folder: &Path, text: &str) -> Result<PathBuf, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("is empty").hint("the path of a PEM file"));
    }
    if text.contains("-----BEGIN") {
        return Err(Wrong::new("is no path").hint("the PEM text itself does not belong here; name its file"));
    }
    Ok(folder.join(text))
}

/// RFC 6797 §6.1
fn hsts(text: &str) -> Result<String, Wrong> {
    let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    let age = text.split(';').filter_map(|part| part.trim().strip_prefix("max-age=")).next();
    let number = age.is_some_and(|age| !age.is_empty() && age.bytes().all(|b| b.is_ascii_digit()));
    if text.is_empty() || (printable && number) {
        return Ok(text.to_owned());
    }
    let hint = format!("for example \"{DEFAULT_HSTS}\"; \"\" sends none");
    Err(Wrong::new(format!("{} is no Strict-Transport-Security", quoted(text))).hint(hint))
}

fn acme(mut acme: Section<'_>, server: &Server, environment: &Environment) -> Acme {
    let folder = acme.source().folder();
    let directory = acme.read("directory", default_directory(), |item| directory(item.text()?));
    let root = acme.item("root").and_then(|item| item.read(|item| path(folder, item.text()?)));
    Acme {
        directory,
        root,
        contact: acme.list("contact", |item| contact(item.text()?)).unwrap_or_default(),
        challenges: challenges(&mut acme, server),
        profile: acme.item("profile").and_then(|item| item.read(|item| token(item.text()?))),
        eab: external_account(acme.item("eab"), environment),
    }
}

fn default_directory() -> String {
    DIRECTORIES[0].1.to_owned()
}

fn directory(text: &str) -> Result<String, Wrong> {
    if let Some((_, url)) = DIRECTORIES.iter().find(|(name, _)| *name == text) {
        return Ok((*url).to_owned());
    }
    let rest = text.strip_prefix("https://").unwrap_or_default();
    if rest.is_empty() || rest.starts_with('/') || text.contains(['@', ' ', '#']) {
        let hint = "\"letsencrypt\", \"letsencrypt-staging\" or the https:// URL of a directory";
        return Err(Wrong::new("is no ACME directory").hint(hint));
    }
    Ok(text.to_owned())
}

fn contact(text: &str) -> Result<String, Wrong> {
    let address = text.strip_prefix("mailto:").and_then(|address| address.split_once('@'));
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b'?'));
    match address {
        Some((user, domain)) if plain && !user.is_empty() && domain.contains('.') => Ok(text.to_owned()),
        Some(_) | None => {
            Err(Wrong::new(format!("{} is no contact", quoted(text))).hint("for example \"mailto:ops@example.org\""))
        }
    }
}

/// A word that goes into JSON as it is.
fn token(text: &str) -> Result<String, Wrong> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{} has other characters than letters, digits, - and _", quoted(text))))
}

/// Without the key: TLS-ALPN-01, and HTTP-01 where there is a listener for it.
fn challenges(acme: &mut Section<'_>, server: &Server) -> Vec<Challenge> {
    let hint = "leave it out for \"tls-alpn-01\" and \"http-01\"";
    if acme.is_empty_list("challenges") {
        acme.fault_of("challenges", Wrong::new("is empty").hint(hint));
    }
    let parse = |item: &Item<'_>| {
        let challenge = challenge(item)?;
        if challenge == Challenge::Http01 && server.http.is_empty() {
            let hint = "add a listener on port 80 to server.http, or leave \"http-01\" out";
            return Err(Wrong::new("\"http-01\" cannot be answered: server.http is empty").hint(hint));
        }
        Ok(challenge)
    };
    acme.list("challenges", parse).unwrap_or_else(|| match server.http.is_empty() {
        true => vec![Challenge::TlsAlpn01],
        false => vec![Challenge::TlsAlpn01, Challenge::Http01],
    })
}

fn challenge(item: &Item<'_>) -> Result<Challenge, Wrong> {
    if let Some(mut table) = item.section() {
        let mut dns = table.section("dns-01");
        dns.missing("command", "the program that sets and clears a TXT record; it is given set|clear NAME VALUE");
        let command = dns.list("command", |item| item.text().map(str::to_owned)).unwrap_or_default();
        if dns.is_empty_list("command") {
            dns.fault_of("command", Wrong::new("is empty").hint("command = [\"/usr/local/bin/set-txt\"]"));
        }
        return Ok(Challenge::Dns01 { command });
    }
    match item.text()? {
        "tls-alpn-01" => Ok(Challenge::TlsAlpn01),
        "http-01" => Ok(Challenge::Http01),
        "dns-01" => {
            Err(Wrong::new("\"dns-01\" needs a command").hint("{ dns-01 = { command = [\"/path/to/program\"] } }"))
        }
        other => Err(not_one_of(other, ["tls-alpn-01", "http-01"].into_iter())),
    }
}

fn external_account(item: Option<Item<'_>>, environment: &Environment) -> Option<ExternalAccount> {
    let item = item?;
    let Some(mut eab) = item.section() else {
        item.wrong(item.type_fault("{ key_id = …, hmac_key = … }"));
        return None;
    };
    eab.missing("key_id", "the key id that the certificate authority gave");
    eab.missing(
        "hmac_key",
        "a reference to the key that the certificate authority gave, for example \"credential:eab\"",
    );
    let key_id = eab.item("key_id").and_then(|item| item.read(|item| token(item.text()?)));
    let reference = |item: &Item<'_>| Reference::parse(item.text()?)?.resolve(environment);
    let hmac_key = eab.item("hmac_key").and_then(|item| item.read(reference));
    key_id.zip(hmac_key).map(|(key_id, hmac_key)| ExternalAccount { key_id, hmac_key })
}

/// Whether a public authority would sign any of the names.
fn certifiable(tls: &Section<'_>, acme: &Acme, server: &Server) {
    let private = acme.root.is_some() || server.names.is_empty();
    if !private && server.names.iter().all(|name| is_local(name)) {
        let hint = "certificate = \"self-signed\", or add a public name to server.names";
        let text = format!("\"acme\" gives no certificate for {}", server.names.join(", "));
        tls.fault_of("certificate", Wrong::new(text).hint(hint));
    }
}

/// Names that no public authority signs (RFC 6761, RFC 6762, RFC 8375 and private addresses).
pub(in crate::config) fn is_local(name: &str) -> bool {
    if let Ok(address) = name.parse::<std::net::IpAddr>() {
        return match address {
            std::net::IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
            std::net::IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        };
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    !name.contains('.') || ["localhost", "local", "internal", "test", "invalid", "example"].contains(&last)
}
