//! JSON as clients might write it: any spelling of a tree, and trees that Go and others read in different ways.

use super::dice::Dice;

/// A value that is not yet spelled. Members may have equal names.
#[derive(Clone)]
pub(crate) enum Node {
    /// Written as it is.
    Raw(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Values that some reader takes for another one.
const ODD: [&str; 40] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "1.0",
    "1e1",
    "2E+3",
    "0.4e-9",
    "3.5",
    "1e300",
    "-1e300",
    "1e400",
    "2048.0",
    "2147483648",
    "9007199254740993",
    "9223372036854775808",
    "123456789012345678901234567890",
    "01",
    "+1",
    "NaN",
    ".5",
    "1.",
    "\"\"",
    "\"x\"",
    "\" \"",
    "\"-1s\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\u0000\"",
    "\"\\ud83d\\ude00\"",
    "[]",
    "{}",
    "[null]",
    "{\"model\":\"forbidden\"}",
    "[[[]]]",
    "\"\\x41\"",
    "\"a\tb\"",
];

/// Names that mean something on some route, and some that mean nothing.
const NAMES: [&str; 30] = [
    "model",
    "name",
    "messages",
    "prompt",
    "system",
    "template",
    "raw",
    "suffix",
    "context",
    "options",
    "num_predict",
    "num_ctx",
    "keep_alive",
    "stream",
    "shift",
    "_debug_render_only",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "stream_options",
    "content",
    "role",
    "images",
    "instructions",
    "input",
    "user",
    "x-unknown",
    "x_unknown",
    "metadata",
    "tools",
];

pub(crate) fn text(value: &str) -> Node {
    Node::Text(value.to_owned())
}

pub(crate) fn raw(value: &str) -> Node {
    Node::Raw(value.to_owned())
}

pub(crate) fn object(members: Vec<(&str, Node)>) -> Node {
    Node::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Changes one thing somewhere in a tree.
pub(crate) fn mutate(node: &mut Node, dice: &mut Dice) {
    match node {
        Node::Object(members) if !members.is_empty() && !dice.once_in(3) => {
            let at = dice.below(members.len());
            mutate(&mut members[at].1, dice);
        }
        Node::List(items) if !items.is_empty() && !dice.once_in(4) => {
            let at = dice.below(items.len());
            mutate(&mut items[at], dice);
        }
        Node::Object(members) => mutate_members(members, dice),
        Node::List(items) => mutate_items(items, dice),
        Node::Raw(_) | Node::Text(_) => *node = raw(dice.pick(&ODD)),
    }
}

fn mutate_members(members: &mut Vec<(String, Node)>, dice: &mut Dice) {
    let at = dice.below(members.len());
    let Some((key, value)) = members.get(at).cloned() else { return };
    let twin = if dice.once_in(2) { other(&value, dice) } else { value };
    let place = dice.below(members.len() + 1);
    match dice.below(12) {
        0 => members.insert(place, (key, twin)),
        1 | 2 => members.insert(place, (recased(&key, dice), twin)),
        3 => members[at].0 = recased(&key, dice),
        4 => members.insert(place, (folded(&key), twin)),
        5 => members[at].0 = folded(&key),
        6 => members.insert(place, (key, raw("null"))),
        7 => members[at].1 = raw("null"),
        8 => drop(members.remove(at)),
        9 => members.swap(at, place / 2),
        10 => members.insert(place, ((dice.pick(&NAMES)).to_owned(), raw(dice.pick(&ODD)))),
        _ => members.insert(place, (format!("{key} "), twin)),
    }
}

fn mutate_items(items: &mut Vec<Node>, dice: &mut Dice) {
    match dice.below(4) {
        0 => items.clear(),
        1 => items.push(raw(dice.pick(&ODD))),
        2 => items.extend(items.first().cloned()),
        _ => items.reverse(),
    }
}

/// Another value of the same kind.
fn other(value: &Node, dice: &mut Dice) -> Node {
    match value {
        Node::Text(_) => text(dice.pick(&["forbidden", "tiny", "SYSTEM", "", "another text"])),
        Node::Object(members) => Node::Object(members.iter().skip(1).cloned().collect()),
        Node::List(items) => Node::List(items.iter().rev().take(1).cloned().collect()),
        Node::Raw(_) => raw(dice.pick(&ODD)),
    }
}

fn recased(key: &str, dice: &mut Dice) -> String {
    match dice.below(3) {
        0 => key.to_uppercase(),
        1 => {
            let at = dice.below(key.len());
            key.char_indices().map(|(i, c)| if i == at { c.to_ascii_uppercase() } else { c }).collect()
        }
        _ => key.chars().map(|c| if dice.once_in(2) { c.to_ascii_uppercase() } else { c }).collect(),
    }
}

/// With the letters that Go's folding takes for s and k.
fn folded(key: &str) -> String {
    key.chars()
        .map(|c| {
            if c == 's' {
                'ſ'
            } else if c == 'k' {
                '\u{212a}'
            } else {
                c
            }
        })
        .collect()
}

/// Spells a tree: white space, escapes, and now and then bytes that are no JSON.
pub(crate) fn spell(node: &Node, dice: &mut Dice) -> Vec<u8> {
    let mut spelling = Spelling { out: String::new(), airy: dice.once_in(8), escaped: dice.once_in(8) };
    spelling.node(node, dice);
    let mut bytes = spelling.out.into_bytes();
    if dice.once_in(20) {
        damage(&mut bytes, dice);
    }
    bytes
}

/// Damages a body that was whole.
pub(crate) fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(bytes.len());
    match dice.below(9) {
        0 => drop(bytes.splice(..0, *b"\xEF\xBB\xBF")),
        1 => drop(bytes.splice(..0, *b" \r\n\t")),
        2 => bytes.extend_from_slice(b"{\"model\":\"forbidden\"}"),
        3 => bytes.extend_from_slice(dice.pick(&[&b" \n"[..], b"\0", b"]", b",", b"#"])),
        4 => bytes.truncate(at),
        5 => bytes.insert(at, dice.pick(&[0xFF, 0xC0, 0xED, 0x01, 0x00, 0x7F])),
        6 => drop(bytes.splice(at..at, *b"\\ud800")),
        7 => bytes.clear(),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
    }
}

struct Spelling {
    out: String,
    airy: bool,
    escaped: bool,
}

impl Spelling {
    fn node(&mut self, node: &Node, dice: &mut Dice) {
        self.air(dice);
        match node {
            Node::Raw(token) => self.out.push_str(token),
            Node::Text(text) => self.text(text, dice),
            Node::List(items) => {
                self.out.push('[');
                for (i, item) in items.iter().enumerate() {
                    self.comma(i);
                    self.node(item, dice);
                }
                self.out.push(']');
            }
            Node::Object(members) => {
                self.out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    self.comma(i);
                    self.air(dice);
                    self.text(key, dice);
                    self.air(dice);
                    self.out.push(':');
                    self.node(value, dice);
                }
                self.out.push('}');
            }
        }
        self.air(dice);
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.out.push(',');
        }
    }

    fn air(&mut self, dice: &mut Dice) {
        if self.airy {
            self.out.push_str(dice.pick(&["", " ", "\n", "\t", "\r\n "]));
        }
    }

    fn text(&mut self, text: &str, dice: &mut Dice) {
        self.out.push('"');
        for c in text.chars() {
            let must = c < ' ' || c == '"' || c == '\\';
            match c {
                '"' | '\\' if !self.escaped => self.out.extend(['\\', c]),
                '\n' if !self.escaped => self.out.push_str("\\n"),
                '\t' if !self.escaped => self.out.push_str("\\t"),
                '\r' if !self.escaped => self.out.push_str("\\r"),
                '/' if self.escaped && dice.once_in(2) => self.out.push_str("\\/"),
                _ if must || (self.escaped && dice.once_in(3)) => {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}
