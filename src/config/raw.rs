//! The file as it is written: tables whose keys are asked for, each with its position.
//!
//! Guarantees: a fault never hides another, since reading goes on with the default; a key of the file that no rule
//! asked for is a fault when its table is let go ([`Section`]'s `Drop`), so a rule cannot forget to look.
//! Does not: know any rule. (A serde mirror was not taken: it stops at the first fault.)

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Fault, Faults, Place, Wrong};
use super::quantity::{self, Size};

/// The text of a file, and what was found wrong with it so far.
pub(super) struct Source<'d> {
    file: &'d str,
    text: &'d str,
    faults: RefCell<Vec<Fault>>,
}

/// One table, while it is read.
pub(super) struct Section<'d> {
    source: &'d Source<'d>,
    path: String,
    span: Range<usize>,
    table: Option<&'d DeTable<'d>>,
    asked: Vec<&'static str>,
}

/// One value, with its key and position.
pub(super) struct Item<'d> {
    source: &'d Source<'d>,
    path: String,
    value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Source<'d> {
    pub(super) fn new(file: &'d str, text: &'d str) -> Self {
        Self { file, text, faults: RefCell::default() }
    }

    /// The folder that relative paths start from.
    pub(super) fn folder(&self) -> &'d std::path::Path {
        std::path::Path::new(self.file).parent().unwrap_or_else(|| std::path::Path::new(""))
    }

    /// The tables of the text, or all its faults of syntax.
    pub(super) fn document(&self) -> Result<DeTable<'d>, Faults> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            return Ok(document.into_inner());
        }
        let fault = |error: &toml::de::Error| {
            let place = self.place(&error.span().unwrap_or(0..0));
            Fault::new(place, "", Wrong::new(format!("not TOML: {}", error.message().replace('\n', ", "))))
        };
        let mut faults = in_order(errors.iter().map(fault).collect());
        // One a line: what follows on a line that could not be read is noise.
        faults.0.dedup_by_key(|fault| fault.place.line());
        Err(faults)
    }

    pub(super) fn root(&'d self, document: &'d DeTable<'d>) -> Section<'d> {
        Section { source: self, path: String::new(), span: 0..0, table: Some(document), asked: Vec::new() }
    }

    /// A file without a key.
    pub(super) fn nothing(&'d self) -> Section<'d> {
        Section { source: self, path: String::new(), span: 0..0, table: None, asked: Vec::new() }
    }

    pub(super) fn note(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    pub(super) fn into_faults(self) -> Option<Faults> {
        let faults = self.faults.into_inner();
        (!faults.is_empty()).then(|| in_order(faults))
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place::Line {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
        }
    }
}

fn in_order(mut faults: Vec<Fault>) -> Faults {
    faults.sort_by(|a, b| a.place.cmp(&b.place));
    Faults(faults)
}

impl<'d> Section<'d> {
    pub(super) fn source(&self) -> &'d Source<'d> {
        self.source
    }

    /// Whether the file has this table.
    pub(super) fn is_written(&self) -> bool {
        self.table.is_some()
    }

    /// The value of a key. What is asked for is known.
    pub(super) fn item(&mut self, key: &'static str) -> Option<Item<'d>> {
        self.asked.push(key);
        let value = self.value(key)?;
        Some(Item { source: self.source, path: self.path_of(key), value })
    }

    /// A table in this one; where it is not written it has no keys.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'d> {
        self.asked.push(key);
        self.named(key)
    }

    /// The tables in this one whose names the file chooses: every key is known.
    pub(super) fn sections(mut self) -> Vec<(&'d str, Section<'d>)> {
        let table = self.table.take();
        let names = table.into_iter().flat_map(|table| table.keys()).map(|key| key.get_ref().as_ref());
        names.map(|name: &'d str| (name, self.within(table, name))).collect()
    }

    fn named(&self, key: &str) -> Section<'d> {
        self.within(self.table, key)
    }

    fn within(&self, table: Option<&'d DeTable<'d>>, key: &str) -> Section<'d> {
        let mut section =
            Section { source: self.source, path: self.path_of(key), span: 0..0, table: None, asked: Vec::new() };
        let Some((name, value)) = table.and_then(|table| table.get_key_value(key)) else { return section };
        section.span = name.span();
        match value.get_ref().as_table() {
            Some(table) => section.table = Some(table),
            None => Item { source: self.source, path: self.path_of(key), value }.wrong_type("a table"),
        }
        section
    }

    fn path_of(&self, key: &str) -> String {
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let key = if key.chars().all(bare) { key.to_owned() } else { quantity::quoted(key) };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    /// Notes a fault of the table as a whole.
    pub(super) fn wrong(&self, wrong: Wrong) {
        self.source.note(self.fault(wrong));
    }

    /// A fault of the table as a whole, to be noted or not.
    pub(super) fn fault(&self, wrong: Wrong) -> Fault {
        Fault::new(self.source.place(&self.span), self.path.clone(), wrong)
    }

    /// Notes that a key has to be there, if it is not.
    pub(super) fn missing(&self, key: &str, hint: &str) {
        if self.value(key).is_none() {
            self.fault_of(key, Wrong::new("is missing").hint(hint));
        }
    }

    /// Notes a fault of a key, at its value where it has one.
    pub(super) fn fault_of(&self, key: &str, wrong: Wrong) {
        let span = self.value(key).map_or(self.span.clone(), Spanned::span);
        self.source.note(Fault::new(self.source.place(&span), self.path_of(key), wrong));
    }

    /// Whether a list is written that holds nothing.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        self.value(key).and_then(|value| value.get_ref().as_array()).is_some_and(|array| array.is_empty())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    fn value(&self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.table?.get(key)
    }

    /// The parsed value of a key, or the default where it is not written or wrong.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&Item<'d>) -> Result<T, Wrong>,
    ) -> T {
        self.item(key).and_then(|item| item.read(parse)).unwrap_or(default)
    }

    /// A whole number.
    pub(super) fn number<N>(&mut self, key: &'static str, default: N, range: RangeInclusive<u64>) -> N
    where
        N: TryFrom<u64> + std::fmt::Display + Copy,
    {
        let number = |item: &Item<'d>| N::try_from(item.integer(&range)?).map_err(|_| Wrong::new("is too large"));
        self.read(key, default, |item| number(item).map_err(|wrong| wrong.or_hint(|| leave_out(&default.to_string()))))
    }

    /// Bytes.
    pub(super) fn size(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let hint = || leave_out(&Size(default).to_string());
        self.read(key, default, |item| item.size(&range).map_err(|wrong| wrong.or_hint(hint)))
    }

    /// Bytes of memory.
    pub(super) fn bytes(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> usize {
        usize::try_from(self.size(key, default, range)).unwrap_or(usize::MAX)
    }

    /// A length of time of at least a millisecond.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration, most: Duration) -> Duration {
        self.read(key, default, |item| {
            let duration = item.text().and_then(|text| quantity::duration(text, most));
            duration.map_err(|wrong| wrong.or_hint(|| leave_out(&humantime::format_duration(default).to_string())))
        })
    }

    /// One of these words; the first is the default.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)], default: T) -> T {
        self.read(key, default, |item| {
            let text = item.text()?;
            let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            found.ok_or_else(|| not_one_of(text, words.iter().map(|(word, _)| *word)))
        })
    }

    /// `true` or `false`, as the two values of a type.
    pub(super) fn switch<T>(&mut self, key: &'static str, on: T, off: T, default: T) -> T {
        self.read(key, default, |item| Ok(if item.boolean()? { on } else { off }))
    }

    /// A list; each element that is wrong is a fault of its own.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Item<'d>) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let items = self.item(key)?.read(Item::items)?;
        Some(items.iter().filter_map(|item| item.read(&parse)).collect())
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let wrong = Wrong::new("is not a key of this table").hint(quantity::nearest(name, &self.asked));
                self.source.note(Fault::new(self.source.place(&key.span()), self.path_of(name), wrong));
            }
        }
    }
}

impl<'d> Item<'d> {
    /// Notes what is wrong with it.
    pub(super) fn wrong(&self, wrong: Wrong) {
        self.source.note(Fault::new(self.source.place(&self.value.span()), self.path.clone(), wrong));
    }

    /// What `parse` makes of it; what is wrong is noted.
    pub(super) fn read<T>(&self, parse: impl FnOnce(&Self) -> Result<T, Wrong>) -> Option<T> {
        parse(self).map_err(|wrong| self.wrong(wrong)).ok()
    }

    pub(super) fn text(&self) -> Result<&'d str, Wrong> {
        self.value.get_ref().as_str().ok_or_else(|| self.type_fault("a string"))
    }

    pub(super) fn boolean(&self) -> Result<bool, Wrong> {
        self.value.get_ref().as_bool().ok_or_else(|| self.type_fault("true or false"))
    }

    pub(super) fn integer(&self, range: &RangeInclusive<u64>) -> Result<u64, Wrong> {
        let integer = self.value.get_ref().as_integer().ok_or_else(|| self.type_fault("a whole number"))?;
        let outside = || Wrong::new(format!("{integer} is not in {}..={}", range.start(), range.end()));
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| outside())?;
        if range.contains(&number) { Ok(number) } else { Err(outside()) }
    }

    /// A number with a point, or a whole one.
    pub(super) fn decimal(&self) -> Result<f64, Wrong> {
        let value = self.value.get_ref();
        let text = value.as_float().map(|float| float.as_str()).or_else(|| value.as_integer().map(|int| int.as_str()));
        text.and_then(|text| text.parse().ok()).ok_or_else(|| self.type_fault("a number"))
    }

    /// Bytes: a whole number of them, or a text such as `"1 MiB"`.
    pub(super) fn size(&self, range: &RangeInclusive<u64>) -> Result<u64, Wrong> {
        let Some(text) = self.value.get_ref().as_str() else { return self.integer(range) };
        quantity::size(text, range)
    }

    pub(super) fn items(&self) -> Result<Vec<Item<'d>>, Wrong> {
        let array = self.value.get_ref().as_array().ok_or_else(|| self.type_fault("a list"))?;
        let item = |(at, value)| Item { source: self.source, path: format!("{}[{at}]", self.path), value };
        Ok(array.iter().enumerate().map(item).collect())
    }

    /// A table of texts whose keys the file chooses, in the file's order.
    pub(super) fn texts(&self) -> Result<Vec<(String, String)>, Wrong> {
        let table = self.value.get_ref().as_table().ok_or_else(|| self.type_fault("a table"))?;
        let mut pairs: Vec<_> = table.iter().collect();
        pairs.sort_by_key(|(key, _)| key.span().start);
        let pair = |(key, value): (&Spanned<_>, &Spanned<DeValue<'d>>)| {
            let text = value.get_ref().as_str().ok_or_else(|| Wrong::new("holds something that is no string"))?;
            Ok((std::borrow::Cow::<'d, str>::clone(key.get_ref()).into_owned(), text.to_owned()))
        };
        pairs.into_iter().map(pair).collect()
    }

    /// The table it is, if it is one.
    pub(super) fn section(&self) -> Option<Section<'d>> {
        let table = self.value.get_ref().as_table()?;
        let (source, span, path) = (self.source, self.value.span(), self.path.clone());
        Some(Section { source, path, span, table: Some(table), asked: Vec::new() })
    }

    pub(super) fn type_fault(&self, wanted: &str) -> Wrong {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        Wrong::new(format!("is {found}, not {wanted}"))
    }

    fn wrong_type(&self, wanted: &str) {
        self.wrong(self.type_fault(wanted));
    }
}

fn leave_out(default: &str) -> String {
    format!("leave it out for the default, {default}")
}

/// The fault of a word that is none of these.
pub(super) fn not_one_of<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Wrong {
    let words: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    Wrong::new(format!("{} is unknown", quantity::quoted(text))).hint(format!("one of {}", words.join(", ")))
}
