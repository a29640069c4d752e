//! Tables of fields, and the one loop that runs them.
//!
//! Guarantees: a name is compared byte by byte; one that only Go's case folding would take for a field is refused, never
//! dropped; a field of the fate [`Fate::Drop`] is never read, one of [`Fate::Refuse`] never passes unless the role is
//! allowed it; what no table names never reaches Ollama. Fields are written in the table's order.
//! Answers `threats.md` §0.3 (folding, `ſ`, `K`), §2 (null keeps an earlier value: nulls are left out).

use super::draft::Draft;
use crate::config::types::{Allowance, UnknownFields};
use crate::ollama::fault::BodyFault;
use crate::ollama::strict_json::{Text, Value};
use std::collections::HashSet;

/// What happens to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It reaches Ollama as it is, within its bounds.
    Pass,
    /// It reaches Ollama, made smaller where it is too large.
    Clamp,
    /// The gateway decides its value, whether or not the caller gave one.
    Set,
    /// It does not reach Ollama.
    Drop,
    /// The request is refused, unless the value is empty or the role names the allowance.
    Refuse,
}

/// The fields of one object.
pub(super) type Shape = &'static [Field];
/// What reads a field and writes it.
pub(super) type Rule = fn(&mut Draft<'_>, &'static Field, &Members<'_>) -> Result<(), BodyFault>;

/// One row.
pub(super) struct Field {
    pub(super) name: &'static str,
    fate: Fate,
    unless: Option<Allowance>,
    rule: Rule,
    /// The tables of the objects in it.
    pub(super) within: &'static [Shape],
}

impl Field {
    const fn new(name: &'static str, fate: Fate, rule: Rule) -> Self {
        Self { name, fate, unless: None, rule, within: &[] }
    }

    /// Its value is an object, or a list of objects, of these tables.
    pub(super) const fn within(self, within: &'static [Shape]) -> Self {
        Self { within, ..self }
    }

    /// The only table of its objects.
    pub(super) fn inner(&self) -> Shape {
        self.within.first().copied().unwrap_or_default()
    }
}

pub(super) const fn pass(name: &'static str, rule: Rule) -> Field {
    Field::new(name, Fate::Pass, rule)
}

pub(super) const fn clamp(name: &'static str, rule: Rule) -> Field {
    Field::new(name, Fate::Clamp, rule)
}

pub(super) const fn set(name: &'static str, rule: Rule) -> Field {
    Field::new(name, Fate::Set, rule)
}

pub(super) const fn drop(name: &'static str) -> Field {
    Field::new(name, Fate::Drop, nothing)
}

pub(super) const fn refuse(name: &'static str) -> Field {
    Field::new(name, Fate::Refuse, nothing)
}

pub(super) const fn refuse_unless(name: &'static str, allowance: Allowance, rule: Rule) -> Field {
    Field { unless: Some(allowance), ..Field::new(name, Fate::Refuse, rule) }
}

/// A field that another one's rule has read.
pub(super) fn nothing(_: &mut Draft<'_>, _: &'static Field, _: &Members<'_>) -> Result<(), BodyFault> {
    Ok(())
}

/// How Ollama compares the names of an object's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// As fields of a struct: with Unicode case folding.
    Fields,
    /// As keys of a map: byte by byte.
    Map,
}

/// The members of one object whose names were checked.
#[derive(Clone, Copy)]
pub(super) struct Members<'v>(&'v [(Text<'v>, Value<'v>)]);

impl<'v> Members<'v> {
    /// Checks the names.
    pub(super) fn read(
        draft: &Draft<'_>,
        keys: Keys,
        shape: Shape,
        members: &'v [(Text<'v>, Value<'v>)],
    ) -> Result<Self, BodyFault> {
        let mut unknown = HashSet::new();
        for (key, _) in members {
            let key = key.as_str();
            if shape.iter().any(|field| field.name == key) {
                continue;
            }
            if keys == Keys::Fields {
                check_unknown(key, shape, &mut unknown)?;
            }
            if draft.rules.validation.unknown_fields == UnknownFields::Refuse {
                return Err(BodyFault::UnknownField);
            }
        }
        Ok(Self(members))
    }

    /// The value of a field; `null` is none, as for Go.
    pub(super) fn get(&self, name: &str) -> Option<&'v Value<'v>> {
        let found = self.0.iter().find(|(key, _)| key.as_str() == name);
        found.map(|(_, value)| value).filter(|value| **value != Value::Null)
    }
}

/// A name that no row has: it must not be one that Go would take for another.
fn check_unknown(key: &str, shape: Shape, unknown: &mut HashSet<String>) -> Result<(), BodyFault> {
    if !key.is_ascii() {
        return Err(BodyFault::KeyNotAscii);
    }
    let known = shape.iter().any(|field| field.name.eq_ignore_ascii_case(key));
    if known || !unknown.insert(key.to_ascii_lowercase()) { Err(BodyFault::KeyVariant) } else { Ok(()) }
}

/// Reads an object by its table and writes it.
pub(super) fn object<'v>(
    draft: &mut Draft<'_>,
    keys: Keys,
    shape: Shape,
    members: &'v [(Text<'v>, Value<'v>)],
) -> Result<(), BodyFault> {
    let members = Members::read(draft, keys, shape, members)?;
    rows(draft, shape, &members)
}

/// Runs the rows over members whose names were checked.
pub(super) fn rows(draft: &mut Draft<'_>, shape: Shape, members: &Members<'_>) -> Result<(), BodyFault> {
    draft.out.open_object();
    for field in shape {
        match field.fate {
            Fate::Drop => {}
            Fate::Set | Fate::Clamp => (field.rule)(draft, field, members)?,
            Fate::Pass => {
                if members.get(field.name).is_some() {
                    (field.rule)(draft, field, members)?;
                }
            }
            Fate::Refuse => refused(draft, field, members)?,
        }
    }
    draft.out.close_object();
    Ok(())
}

fn refused(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Result<(), BodyFault> {
    // Official clients send the empty values of fields that they do not use.
    if members.get(field.name).is_none_or(is_empty) {
        return Ok(());
    }
    match field.unless {
        Some(allowance) if draft.allows(allowance) => (field.rule)(draft, field, members),
        Some(_) | None => Err(BodyFault::FieldRefused { field: field.name }),
    }
}

/// `null`, `false`, `""`, `[]`, `{}`
pub(super) fn is_empty(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Text(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// The rows of a table and of those in it, by path.
pub(super) fn flatten(shape: Shape, prefix: &str, rows: &mut Vec<(String, Fate)>) {
    for field in shape {
        let path = format!("{prefix}{}", field.name);
        if rows.iter().all(|(known, _)| *known != path) {
            rows.push((path.clone(), field.fate));
        }
        for inner in field.within {
            flatten(inner, &format!("{path}."), rows);
        }
    }
}
