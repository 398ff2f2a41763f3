//! Nothing is lost: every scalar in the context, properties or traits that a call uses, and every id and timestamp, is
//! found again in a column, in `_rescued_data` or in a rejection, however names collide, repeat and change their type.

use crate::cases::instant;
use crate::events::lines;
use crate::json::Json;
use crate::lake::{self, Row, Value};
use crate::support::{Chance, Room, SCHEMA};

/// Keys that meet each other, the columns that every table has, and names that are none.
const KEYS: [&str; 24] = [
    "orderId",
    "order_id",
    "Order ID",
    "order",
    "id",
    "a",
    "A",
    "a_b",
    "b",
    "event",
    "user_id",
    "timestamp",
    "receivedAt",
    "uuid_ts",
    "_rescued_data",
    "_upload_id",
    "context_ip",
    "ip",
    "name",
    "category",
    "",
    "🎉",
    "2fa",
    "group id",
];

/// Makes events whose scalars are all different, so that each can be looked for.
struct Maker {
    chance: Chance,
    count: usize,
}

impl Maker {
    fn number(&mut self) -> usize {
        self.count += 1;
        1_000_000 + self.count
    }

    fn scalar(&mut self) -> Json {
        let number = self.number();
        match self.chance.below(10) {
            0 => Json::Boolean(self.chance.is(50)),
            1 | 2 => Json::number(number),
            3 => Json::number(format!("{number}.25")),
            4 => Json::number(format!("900719925{number}")),
            5 => Json::number(format!("-77777777777777{number}")),
            6 => Json::text(&format!("2026-03-15T12:00:00.{}Z", &number.to_string()[1..])),
            7 => Json::text(&number.to_string()),
            8 => Json::number(format!("{number}e+400")),
            _ => Json::text(&format!("t{number}e")),
        }
    }

    fn value(&mut self, depth: usize) -> Json {
        match self.chance.below(12) {
            0 => Json::Null,
            1 if depth < 5 => Json::Array((0..self.chance.below(4)).map(|_| self.value(depth + 1)).collect()),
            2 | 3 if depth < 5 => self.object(depth + 1),
            4 if depth == 0 => (0..20).fold(self.scalar(), |inside, _| Json::Object(vec![("deep".to_owned(), inside)])),
            _ => self.scalar(),
        }
    }

    /// An object whose keys may repeat.
    fn object(&mut self, depth: usize) -> Json {
        let count = self.chance.below(8);
        let entry = |maker: &mut Self| (maker.chance.pick(&KEYS).to_owned(), maker.value(depth));
        Json::Object((0..count).map(|_| entry(self)).collect())
    }

    fn time(&mut self) -> Json {
        let number = self.number();
        match self.chance.below(4) {
            0 => Json::text(&format!("no time {number}")),
            _ => Json::text(&format!("2026-03-15T12:00:00.{}Z", &number.to_string()[1..])),
        }
    }

    fn event(&mut self, id: &str) -> Json {
        let kinds: [(&str, &[&str], &str); 6] = [
            ("track", &[], "properties"),
            ("identify", &[], "traits"),
            ("page", &["name", "category"], "properties"),
            ("screen", &["name"], "properties"),
            ("group", &["groupId"], "traits"),
            ("alias", &["previousId"], "traits"),
        ];
        let (kind, own, bag) = self.chance.pick(&kinds);
        let mut entries = vec![("type".to_owned(), Json::text(kind)), ("messageId".to_owned(), Json::text(id))];
        if kind == "track" {
            entries.push(("event".to_owned(), Json::text(self.chance.pick(&["Bought", "Sold"]))));
        }
        for name in own.iter().chain(&["userId", "anonymousId"]) {
            let number = self.number();
            entries.push((
                (*name).to_owned(),
                if self.chance.is(50) { Json::text(&format!("i{number}")) } else { Json::number(number) },
            ));
        }
        for name in ["timestamp", "originalTimestamp", "sentAt", "receivedAt"] {
            if self.chance.is(80) {
                entries.push((name.to_owned(), self.time()));
            }
        }
        entries.push(("context".to_owned(), self.object(0)));
        // Now and then an event that can never be a row.
        entries.push((bag.to_owned(), if self.chance.is(5) { Json::text("no object") } else { self.object(0) }));
        self.chance.shuffle(&mut entries);
        Json::Object(entries)
    }
}

/// The scalars below a value, NULLs and empty texts aside.
fn scalars<'a>(json: &'a Json, found: &mut Vec<&'a Json>) {
    json.entries().iter().for_each(|(_, value)| scalars(value, found));
    json.items().iter().for_each(|value| scalars(value, found));
    if matches!(json, Json::Boolean(_) | Json::Number(_) | Json::Text(_)) {
        found.push(json);
    }
}

/// Whether a row says a scalar: as a column's value, exactly, or within a text of JSON.
fn says(row: &Row, scalar: &Json) -> bool {
    let plain = scalar.plain();
    row.iter().any(|(name, value)| match value {
        Value::Boolean(value) => plain == value.to_string(),
        Value::BigInt(value) => plain == value.to_string(),
        Value::Double(bits) => {
            let double = f64::from_bits(*bits);
            let is_integer = !plain.contains(['.', 'e']);
            plain.parse::<f64>().is_ok_and(|wanted| wanted.to_bits() == *bits)
                && (!is_integer || format!("{double:.0}") == plain)
        }
        Value::Time(micros) => {
            name != "uuid_ts" && plain.len() == 27 && plain.ends_with('Z') && instant(&plain) == *micros
        }
        Value::Text(text) => *text == plain || text.contains(&scalar.to_string()),
    })
}

#[test]
fn every_scalar_is_found_again() {
    for seed in 200..206 {
        let room = Room::new();
        let mut maker = Maker { chance: Chance::of(seed), count: 0 };
        for upload in 0..4 {
            let events: Vec<Json> = (0..50).map(|number| maker.event(&format!("m{upload}-{number}"))).collect();
            let written: Vec<String> = events.iter().map(Json::to_string).collect();
            let report = room.land(vec![room.upload(&format!("{upload}.ndjson"), &lines(&written))]);
            let upload_id = &crate::support::the_only(&report).upload_id;
            let tables = lake::read_all(&room.lake(), SCHEMA);
            let of = |name: &str, id: &str| -> Option<&Row> {
                tables
                    .get(name)?
                    .rows
                    .iter()
                    .find(|row| row["id"].text() == id && row["_upload_id"].text() == upload_id)
            };
            for (line, event) in events.iter().enumerate() {
                let what = format!("seed {seed}, upload {upload}, line {}: {event}", line + 1);
                let kind = event.get("type").expect("a type").as_text();
                let id = event.get("messageId").expect("an id").as_text();
                let call = match kind {
                    "identify" => "identifies".to_owned(),
                    "alias" => "aliases".to_owned(),
                    other => format!("{other}s"),
                };
                let Some(row) = of(&call, id) else {
                    let rejects = &tables["_rejects"].rows;
                    let is_it =
                        |row: &&Row| row["upload_id"].text() == upload_id && row["line"].number() == line as i64 + 1;
                    let reject =
                        rejects.iter().find(is_it).unwrap_or_else(|| panic!("no row and no rejection: {what}"));
                    assert_eq!(reject["raw"].text(), written[line]);
                    continue;
                };
                let event_row = (kind == "track").then(|| {
                    let name = event.get("event").expect("an event").as_text().to_lowercase();
                    of(&name, id).unwrap_or_else(|| panic!("no row in `{name}`: {what}"))
                });
                for (key, value) in event.entries() {
                    let mut wanted = Vec::new();
                    scalars(value, &mut wanted);
                    let both: Vec<&Row> = [row].into_iter().chain(event_row).collect();
                    let rows = match key.as_str() {
                        "type" => continue,
                        "properties" | "traits" => vec![event_row.unwrap_or(row)],
                        _ => both,
                    };
                    for (scalar, row) in wanted.iter().flat_map(|scalar| rows.iter().map(move |row| (scalar, row))) {
                        assert!(says(row, scalar), "{scalar} of `{key}` is lost: {what}\n{row:?}");
                    }
                }
            }
        }
        lake::assert_ledger(&room.lake(), SCHEMA);
    }
}
