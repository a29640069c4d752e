//! `Content-Disposition` of a part of a form: which field it is, and whether it is a file.
//!
//! Guarantees: `form-data` with exactly one `name`, of letters, digits and a few signs; each parameter once; nothing
//! between or behind them. What a file is called by the client is skipped over and never kept: no path of a client's
//! goes anywhere (`threats.md` §4.5).

const NAME_BYTES: usize = 64;

/// A part of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Disposition<'h> {
    pub(super) name: &'h str,
    pub(super) kind: Kind,
}

/// Go tells files from values by whether they have a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Value,
    File,
}

/// Reads the header's value; `None`: it can be read in two ways, or in none.
pub(super) fn parse(header: &str) -> Option<Disposition<'_>> {
    let (kind, mut rest) = token(header)?;
    if !kind.eq_ignore_ascii_case("form-data") {
        return None;
    }
    let (mut name, mut file_name, mut extended) = (None, None, None);
    while !rest.is_empty() {
        let (key, value, after) = parameter(rest)?;
        let place = match key.to_ascii_lowercase().as_str() {
            "name" => &mut name,
            "filename" => &mut file_name,
            "filename*" => &mut extended,
            _ => return None,
        };
        if place.replace(value).is_some() {
            return None;
        }
        rest = after;
    }
    let file = file_name.is_some() || extended.is_some();
    Some(Disposition { name: name.filter(|name| is_name(name))?, kind: if file { Kind::File } else { Kind::Value } })
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'[' | b']');
    (1..=NAME_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

/// `; key=value`: the value without its quotes, with the escapes in it.
fn parameter(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.trim_start_matches(' ').strip_prefix(';')?.trim_start_matches(' ');
    let (key, rest) = token(text)?;
    let rest = rest.strip_prefix('=')?;
    let (value, rest) = rest.strip_prefix('"').map_or_else(|| token(rest), quoted)?;
    Some((key, value, rest))
}

/// A token of RFC 9110.
pub(super) fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(c)).unwrap_or(text.len());
    if end == 0 { None } else { text.split_at_checked(end) }
}

/// What follows an opening quote, up to the closing one.
pub(super) fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            '"' if !escaped => return Some((text.get(..at)?, text.get(at + 1..)?)),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_clients_write_it() {
        for (header, name, kind) in [
            ("form-data; name=\"model\"", "model", Kind::Value),
            ("form-data; name=model", "model", Kind::Value),
            ("form-data; name=\"timestamp_granularities[]\"", "timestamp_granularities[]", Kind::Value),
            ("form-data; name=\"file\"; filename=\"a.wav\"", "file", Kind::File),
            ("form-data; name=file; filename=a.wav; filename*=utf-8''a.wav", "file", Kind::File),
            ("Form-Data;name=\"file\" ; FileName=\"../../\\\"über; name=\\\\\"", "file", Kind::File),
        ] {
            assert_eq!(parse(header), Some(Disposition { name, kind }), "{header}");
        }
    }

    #[test]
    fn what_could_be_read_otherwise_is_refused() {
        for header in [
            "",
            "form-data",
            "form-data;",
            "attachment; name=\"model\"",
            "form-data; filename=\"a.wav\"",
            "form-data; name=\"\"",
            "form-data; name=\"mo\\del\"",
            "form-data; name=\"mödel\"",
            "form-data; name=\"a b\"",
            "form-data; name=\"model\"; name=\"file\"",
            "form-data; name=\"model\"; NAME=\"model\"",
            "form-data; name*=utf-8''model",
            "form-data; name=\"file\"; filename=\"a\"; filename=\"b\"",
            "form-data; name=\"model\" x",
            "form-data; name=\"model",
            "form-data; name=\"file\"; filename=\"a\\\"",
            "form-data; name = \"model\"",
            "form-data, name=\"model\"",
            "form-data; name=\"model\"; size=3",
        ] {
            assert_eq!(parse(header), None, "{header}");
        }
    }
}
