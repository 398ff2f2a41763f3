//! JSON text with what a selection hides: the lines that `_rejects` keeps, and objects in `_rescued_data`.
//!
//! Text is read by JSON's grammar from its beginning. As far as that holds, every value's path is certain, and values
//! that are denied or hashed are replaced. From the first byte that is no JSON nothing is certain, and nothing is shown.

use crate::batch::Reject;
use crate::event::{Call, Field, Fields, call_of};
use crate::json::{NodeKind, Tape, container, skip_space, string};
use crate::limits::FLATTEN_DEPTH;
use crate::mask::mask;
use crate::naming::{column_name, table_name};
use crate::selection::{ColumnRules, Selection, Treatment};
use crate::{number, text};

/// What stands for a value that is not shown and has no hash.
pub(crate) const HIDDEN: &str = "\"***\"";

/// A path this long is no name that anybody wrote into the settings, and is not looked at.
const PATH_BYTES: usize = 1 << 12;

/// The text of a rejection as `_rejects` keeps it: `raw` is its beginning. Columns are known by every end of a value's
/// path, since a line that is rejected may have its fields elsewhere than an event has them.
pub(crate) fn rejected(raw: &[u8], reject: &Reject, selection: &Selection) -> String {
    let length = reject.end - reject.start;
    let tables = tables_of(raw);
    let is_left_out = match &tables {
        Some(tables) => !tables.iter().all(|table| selection.takes_table(table)),
        None => selection.chooses_tables(),
    };
    if is_left_out {
        return withheld(String::new(), length);
    }
    let rules = match &tables {
        Some(tables) => tables.iter().filter_map(|table| selection.columns_of(table)).reduce(ColumnRules::and),
        None => selection.columns_of_any(),
    };
    let Some(rules) = rules else { return mask(raw) };
    let text = match std::str::from_utf8(raw) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&raw[..error.valid_up_to()]).unwrap_or_default(),
    };
    let (shown, read) = Hider::new(text.as_bytes(), &rules, None).run();
    withheld(mask(&shown), length - read)
}

/// The tables that a line or item is for; nothing when that cannot be told.
fn tables_of(raw: &[u8]) -> Option<Vec<String>> {
    std::str::from_utf8(raw).ok()?;
    let mut tape = Tape::default();
    let root = tape.read(raw, 0, raw.len()).ok()?;
    let fields = Fields::of(&tape, raw, root);
    let call = call_of(&tape, raw, &fields)?;
    // An envelope has events of any table.
    if fields.raw(Field::Batch).is_some() {
        return None;
    }
    let mut tables = vec![call.table().to_owned()];
    if call == Call::Track {
        let event = fields.get(&tape, Field::Event)?;
        let is_text = matches!(event.kind, NodeKind::String | NodeKind::EscapedString);
        tables.push(is_text.then(|| table_name(&text::to_string(raw, event)))?);
    }
    Some(tables)
}

fn withheld(shown: String, bytes: usize) -> String {
    match (shown.as_str(), bytes) {
        (_, 0) => shown,
        ("", _) => format!("withheld: {bytes} bytes"),
        _ => format!("{shown}… withheld: {bytes} bytes"),
    }
}

/// An object whose keys would be columns behind `path` (joined with `_`; empty for a bag), with what the rules hide.
pub(crate) fn object(source: &[u8], path: &str, rules: &ColumnRules) -> Vec<u8> {
    Hider::new(source, rules, Some(path)).run().0
}

/// A container that is open.
#[derive(Clone, Copy)]
struct Open {
    is_object: bool,
    /// Lengths of the path and of its segments when it was opened.
    path: usize,
    segments: usize,
    /// It is inside a column that may be there.
    is_allowed: bool,
}

struct Hider<'a> {
    text: &'a [u8],
    rules: &'a ColumnRules,
    /// Paths are what an event's would be: only they are columns. Else each end of a path may be one.
    is_exact: bool,
    out: Vec<u8>,
    /// How far the text was copied, and how far it is JSON.
    copied: usize,
    read: usize,
    path: String,
    /// Where each segment of the path begins.
    segments: Vec<usize>,
    open: Vec<Open>,
}

impl<'a> Hider<'a> {
    fn new(text: &'a [u8], rules: &'a ColumnRules, path: Option<&str>) -> Self {
        let mut hider = Self {
            text,
            rules,
            is_exact: path.is_some(),
            out: Vec::with_capacity(text.len()),
            copied: 0,
            read: 0,
            path: String::new(),
            segments: Vec::new(),
            open: Vec::new(),
        };
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            hider.enter(path);
        }
        hider
    }

    /// The text as it may be shown, and how many of its bytes were JSON.
    fn run(mut self) -> (Vec<u8>, usize) {
        if self.value(skip_space(self.text, 0)).is_some() {
            self.read = self.text.len();
        }
        self.out.extend_from_slice(&self.text[self.copied..self.read.max(self.copied)]);
        (self.out, self.read)
    }

    /// Reads one value to the text's end; nothing when it is no JSON.
    fn value(&mut self, at: usize) -> Option<()> {
        let mut next = Next::Value(at);
        loop {
            next = match next {
                Next::Value(at) => self.begin(at, false)?,
                Next::Behind(at) if self.open.is_empty() => return (at == self.text.len()).then_some(()),
                Next::Behind(at) => self.go_on(at)?,
            };
        }
    }

    /// At a value that may be shown: opens it, or reads it.
    fn begin(&mut self, at: usize, is_bag: bool) -> Option<Next> {
        let byte = *self.text.get(at)?;
        if !matches!(byte, b'{' | b'[') {
            return self.scalar(at, is_bag);
        }
        let is_object = byte == b'{';
        let outer = self.open.last();
        let is_allowed = outer.is_some_and(|outer| outer.is_allowed || (outer.is_object && !is_object));
        let (path, segments) = (self.path.len(), self.segments.len());
        self.open.push(Open { is_object, path, segments, is_allowed });
        self.read = at + 1;
        let inside = skip_space(self.text, at + 1);
        match (*self.text.get(inside)?, is_object) {
            (b'}', true) | (b']', false) => self.close(inside),
            (_, true) => self.member(inside),
            (_, false) => Some(Next::Value(inside)),
        }
    }

    /// Behind a value: another one, or the end of what is open.
    fn go_on(&mut self, at: usize) -> Option<Next> {
        let open = *self.open.last()?;
        self.path.truncate(open.path);
        self.segments.truncate(open.segments);
        match (*self.text.get(at)?, open.is_object) {
            (b',', true) => self.member(skip_space(self.text, at + 1)),
            (b',', false) => Some(Next::Value(skip_space(self.text, at + 1))),
            (b'}', true) | (b']', false) => self.close(at),
            _ => None,
        }
    }

    fn close(&mut self, at: usize) -> Option<Next> {
        self.open.pop();
        self.read = at + 1;
        Some(Next::Behind(skip_space(self.text, at + 1)))
    }

    /// At a key: its value is shown, or replaced.
    fn member(&mut self, at: usize) -> Option<Next> {
        if *self.text.get(at)? != b'"' {
            return None;
        }
        let (end, _) = string(self.text, at + 1)?;
        let key = unescaped(&self.text[at + 1..end]);
        let colon = skip_space(self.text, end + 1);
        if *self.text.get(colon)? != b':' {
            return None;
        }
        self.read = colon + 1;
        let at = skip_space(self.text, colon + 1);
        let is_object = *self.text.get(at)? == b'{';
        let field = (!self.is_exact).then(|| Field::named(key.as_bytes())).flatten();
        let is_top = self.open.len() == 1;
        let is_bag = matches!(field, Some(Field::Properties | Field::Traits | Field::Context));
        let treatment = match field {
            Some(Field::Type) if is_top && !is_object => Treatment::Keep,
            Some(Field::Properties | Field::Traits) if is_top && is_object => Treatment::Keep,
            Some(field) if is_top && !is_bag && !matches!(field, Field::Type | Field::Integrations | Field::Batch) => {
                self.rules.of_field(field)
            }
            _ => {
                self.enter(&key);
                self.of_path(is_object)
            }
        };
        match treatment {
            Treatment::Keep => self.begin(at, is_bag),
            treatment => self.replace(at, treatment),
        }
    }

    fn enter(&mut self, key: &str) {
        if !self.segments.is_empty() {
            self.path.push('_');
        }
        self.segments.push(self.path.len());
        self.path.push_str(key);
    }

    /// What becomes of the value at the path.
    fn of_path(&self, is_object: bool) -> Treatment {
        if !self.is_exact && self.path.len() > PATH_BYTES {
            return Treatment::Deny;
        }
        let whole = column_name(&self.path);
        let must_be_allowed = !is_object && self.open.last().is_none_or(|open| !open.is_allowed);
        if must_be_allowed && !self.rules.allows(&whole) {
            return Treatment::Deny;
        }
        if self.is_exact {
            return self.rules.lists(&whole);
        }
        let ends = self.segments.iter().rev().take(FLATTEN_DEPTH + 1);
        let all = ends.map(|&start| self.rules.lists(&column_name(&self.path[start..])));
        all.max().unwrap_or(Treatment::Keep)
    }

    fn replace(&mut self, at: usize, treatment: Treatment) -> Option<Next> {
        let end = match *self.text.get(at)? {
            b'{' | b'[' => container(self.text, at)?.0,
            _ => scalar_end(self.text, at)?,
        };
        let hashed = if treatment == Treatment::Hash { value_text(&self.text[at..end]) } else { None };
        self.out.extend_from_slice(&self.text[self.copied..at]);
        match hashed {
            Some(text) => self.out.extend_from_slice(format!("\"{}\"", self.rules.hash(&text)).as_bytes()),
            None => self.out.extend_from_slice(HIDDEN.as_bytes()),
        }
        (self.copied, self.read) = (end, end);
        Some(Next::Behind(skip_space(self.text, end)))
    }

    /// A value that may be shown, unless it can be JSON inside a string: then its keys are not seen.
    fn scalar(&mut self, at: usize, is_bag: bool) -> Option<Next> {
        let end = scalar_end(self.text, at)?;
        if !self.is_exact && self.text[at] == b'"' {
            let text = unescaped(&self.text[at + 1..end - 1]);
            if is_bag || self.open.is_empty() || text.contains(['{', '"']) {
                return self.replace(at, Treatment::Deny);
            }
        }
        self.read = end;
        Some(Next::Behind(skip_space(self.text, end)))
    }
}

/// What comes next in the text.
enum Next {
    Value(usize),
    Behind(usize),
}

fn scalar_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    match *rest.first()? {
        b'"' => string(text, at + 1).map(|(end, _)| end + 1),
        b't' if rest.starts_with(b"true") => Some(at + 4),
        b'f' if rest.starts_with(b"false") => Some(at + 5),
        b'n' if rest.starts_with(b"null") => Some(at + 4),
        _ => number::scan(text, at).map(|(end, _)| end),
    }
}

fn unescaped(inner: &[u8]) -> String {
    let mut out = Vec::new();
    text::unescape(inner, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The text that a STRING column would hold; nothing for an object, which is no column, and for `null`.
fn value_text(source: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match source {
        [b'"', inner @ .., b'"'] => drop(text::unescape(inner, &mut out)),
        [b'[', ..] => text::compact(source, &mut out),
        [b'{', ..] | b"null" => return None,
        other => out.extend_from_slice(other),
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reason;
    use crate::selection::tests::{columns, tables};

    fn shown(raw: &[u8], selection: &Selection) -> String {
        let reject =
            Reject { line: 1, item: None, reason: Reason::InvalidJson, byte_offset: 0, start: 7, end: 7 + raw.len() };
        rejected(raw, &reject, selection)
    }

    #[test]
    fn what_is_hidden_is_replaced_and_the_rest_stands_as_it_was() {
        let selection = columns(&[], &["*email", "context_ip", "user_id"], &["phone"]);
        let hash = |text: &str| selection.columns_of_any().unwrap().hash(text.as_bytes());
        let phones = format!(r#"{{"Phone":"{}","phone":"{}","phone":null}}"#, hash("+1"), hash("[1,2]"));
        for (raw, expected) in [
            (r#"{"a" : 1.50,"Email":"x", "b":[true,{}]}"#, r#"{"a" : 1.50,"Email":"***", "b":[true,{}]}"#),
            (r#"{"userId":5,"type":"x","e\u006dail":{"a":1}}"#, r#"{"userId":"***","type":"x","e\u006dail":"***"}"#),
            (r#"{"Phone":"\u002b1","phone":[1, 2],"phone":null}"#, phones.replace("null", "\"***\"").as_str()),
            (r#"{"x":{"context":{"ip":"1"}},"ip":"1"}"#, r#"{"x":{"context":{"ip":"***"}},"ip":"1"}"#),
            (r#"[{"data":{"user":{"email":1}}},2]"#, r#"[{"data":{"user":{"email":"***"}}},2]"#),
            // Text that can hold keys of its own.
            (r#"{"properties":"email=x","note":"plain"}"#, r#"{"properties":"***","note":"plain"}"#),
            (
                r#"{"a":{"traits":"x"},"b":"{email:1}","c":"\"email\""}"#,
                r#"{"a":{"traits":"***"},"b":"***","c":"***"}"#,
            ),
            (r#""email: x""#, r#""***""#),
            ("null", "null"),
            // From the first byte that is no JSON on nothing is certain.
            (r#"{"a":1,"b" "email":"x"}"#, r#"{"a":1… withheld: 17 bytes"#),
            (r#"{"a":"cut here"#, r#"{"a":… withheld: 9 bytes"#),
            (r#"{"a":1,"email":{"b":"cut"#, r#"{"a":1,"email":… withheld: 9 bytes"#),
            (r#"{"a":1}{"email":2}"#, r#"{"a":1}… withheld: 11 bytes"#),
            ("email,x", "withheld: 7 bytes"),
            // Secrets are masked as ever.
            (r#"{"writeKey":"k","email":1}"#, r#"{"writeKey":"***","email":"***"}"#),
        ] {
            assert_eq!(shown(raw.as_bytes(), &selection), expected, "{raw}");
        }
        assert_eq!(shown(b"{\"a\":\"\xFF\",\"email\":1}", &selection), "{\"a\":… withheld: 14 bytes");
    }

    #[test]
    fn where_columns_are_allowed_all_others_are_hidden() {
        let selection = columns(&["total", "items", "context_os_*"], &[], &[]);
        let raw = r#"{"type":"page","name":"n","properties":{"total":1,"items":[{"sku":2}],"a":{"total":3}},"context":{"os":{"name":"x"},"ip":4},"channel":"c"}"#;
        let expected = r#"{"type":"page","name":"n","properties":{"total":1,"items":[{"sku":2}],"a":{"total":"***"}},"context":{"os":{"name":"x"},"ip":"***"},"channel":"***"}"#;
        assert_eq!(shown(raw.as_bytes(), &selection), expected);
    }

    #[test]
    fn text_for_tables_that_are_left_out_or_unknown_is_withheld() {
        let selection = tables(&[], &["secret_event", "aliases"]);
        for (raw, is_shown) in [
            (r#"{"type":"track","event":"Paid"}"#, true),
            (r#"{"type":"track","event":"Secret Event"}"#, false),
            (r#"{"type":"track"}"#, false),
            (r#"{"type":"ALIAS","a":1}"#, false),
            (r#"{"type":"page"}"#, true),
            (r#"{"type":"page","batch":[]}"#, false),
            (r#"{"type":"none"}"#, false),
            (r#"{"type":"page""#, false),
            ("[]", false),
        ] {
            let expected = if is_shown { raw.to_owned() } else { format!("withheld: {} bytes", raw.len()) };
            assert_eq!(shown(raw.as_bytes(), &selection), expected);
        }
    }

    #[test]
    fn depth_and_long_paths_cost_little() {
        let selection = columns(&[], &["email"], &[]);
        let deep = format!("{}{{\"email\":1}}{}", "{\"a\":[".repeat(50_000), "]}".repeat(50_000));
        let long = format!("{{\"{}\":1}}", "a".repeat(1 << 20));
        assert!(shown(deep.as_bytes(), &selection).contains(r#""***""#));
        assert!(shown(long.as_bytes(), &selection).ends_with(r#"":"***"}"#));
    }
}
