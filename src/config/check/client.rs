//! `[tls.client]`: client certificates, and whom they stand for.
//!
//! Guarantees: a certificate gives no role that is not there, and none gives `anonymous`; a name is said in one way.

use super::address::listener;
use super::roles::{ANONYMOUS, Roles};
use super::tls::{path, path_of};
use crate::config::error::Wrong;
use crate::config::quantity::quoted;
use crate::config::raw::{Item, Section};
use crate::config::types::{ClientCertificates, ClientMode, ClientName, ClientPrincipal, Server};
use std::net::SocketAddr;

const SHAPE: &str =
    "{ common_name = \"ci-runner\", role = \"user\" } or { name = \"runner.example.org\", role = \"user\" }";

pub(super) fn client(mut client: Section<'_>, server: &Server, roles: &Roles) -> Option<ClientCertificates> {
    if !client.is_written() {
        return None;
    }
    let folder = client.source().folder();
    let ca = path_of(&mut client, "ca", "the CA that signs the clients' certificates, PEM");
    let crls = client.list("crls", |item| path(folder, item.text()?)).unwrap_or_default();
    let modes = [("optional", ClientMode::Optional), ("required", ClientMode::Required)];
    let mode = client.choice("mode", &modes, ClientMode::Required);
    let listeners = client.list("listeners", |item| one_of(item.text()?, server)).unwrap_or_default();
    let principals = client.list("principals", |item| principal(item, roles)).unwrap_or_default();
    let principals = principals.into_iter().flatten().collect();
    Some(ClientCertificates { ca: ca?, crls, mode, listeners, principals })
}

fn one_of(text: &str, server: &Server) -> Result<SocketAddr, Wrong> {
    let address = listener(text)?;
    if server.https.contains(&address) {
        return Ok(address);
    }
    let all: Vec<_> = server.https.iter().map(SocketAddr::to_string).collect();
    Err(Wrong::new(format!("{address} is not in server.https")).hint(format!("one of {}", all.join(", "))))
}

/// `None`: a part is wrong, which is noted.
fn principal(item: &Item<'_>, roles: &Roles) -> Result<Option<ClientPrincipal>, Wrong> {
    let mut table = item.section().ok_or_else(|| item.type_fault("a table").hint(SHAPE))?;
    table.missing("role", "the role that the certificate gives");
    let common = table.item("common_name").map(|item| item.read(|item| name(item.text()?)));
    let alternative = table.item("name").map(|item| item.read(|item| name(item.text()?)));
    let role = table.item("role").and_then(|item| item.read(|item| role(item.text()?, roles)));
    let name = match (common, alternative) {
        (Some(common), None) => common.map(ClientName::Common),
        (None, Some(alternative)) => alternative.map(ClientName::Alternative),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Wrong::new("needs common_name or name, one of the two").hint(SHAPE));
        }
    };
    Ok(name.zip(role).map(|(name, role)| ClientPrincipal { name, role }))
}

fn name(text: &str) -> Result<String, Wrong> {
    let printable = !text.is_empty() && text.chars().all(|c| !c.is_control()) && text.trim() == text;
    if printable { Ok(text.to_owned()) } else { Err(Wrong::new(format!("{} is no name", quoted(text))).hint(SHAPE)) }
}

fn role(text: &str, roles: &Roles) -> Result<String, Wrong> {
    if text != ANONYMOUS && roles.contains_key(text) {
        return Ok(text.to_owned());
    }
    let known: Vec<_> = roles.keys().map(String::as_str).filter(|name| *name != ANONYMOUS).collect();
    Err(Wrong::new(format!("{} is no role of this file", quoted(text))).hint(format!("one of {}", known.join(", "))))
}
