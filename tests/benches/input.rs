//! One made-up upload, always the same: all six calls, 24 event names, nested contexts, text that does not compress
//! away. About a kilobyte an event, as browsers send them.

use std::fmt::Write as _;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

const EVENTS: usize = 20_000;
const NAMES: usize = 24;

/// The upload, unpacked and as it is stored.
pub(crate) struct Input {
    pub(crate) json: Bytes,
    pub(crate) packed: Vec<u8>,
}

impl Input {
    pub(crate) fn new() -> Self {
        let mut chance = Chance(7);
        let json: String = (0..EVENTS).map(|number| event(&mut chance, number)).collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(json.as_bytes()).expect("memory can be written");
        let packed = encoder.finish().expect("memory can be written");
        Self { json: json.into(), packed }
    }
}

/// Chance that repeats (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn event(chance: &mut Chance, number: usize) -> String {
    let (id, device) = (format!("{:016x}{:016x}", chance.next(), chance.next()), chance.next());
    let (minute, milli) = (number / 1_000 % 60, number % 1_000);
    let at = |second: u32| format!("2026-03-15T12:{minute:02}:{second:02}.{milli:03}Z");
    let mut line = format!(
        r#"{{"messageId":"{id}","anonymousId":"{device:016x}","userId":"u{}","timestamp":"{}","sentAt":"{}","receivedAt":"{}","originalTimestamp":"{}","#,
        chance.below(50_000),
        at(1),
        at(3),
        at(4),
        at(0),
    );
    let page = chance.below(999);
    let drawn = write!(
        line,
        r#""context":{{"ip":"10.{}.{}.{}","library":{{"name":"analytics.js","version":"4.{}.0"}},"userAgent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/{}.0 Safari/537.36","locale":"en-US","timezone":"Europe/Berlin","page":{{"path":"/p/{page}","referrer":"https://search.example","search":"","title":"Title {page}","url":"https://shop.example/p/{page}"}},"campaign":{{"name":"c{}","source":"search","medium":"cpc"}},"device":{{"id":"{device:016x}","type":"ios","model":"iPhone14,2"}},"os":{{"name":"iOS","version":"17.{}"}},"screen":{{"width":1170,"height":2532,"density":3}}}},"#,
        chance.below(256),
        chance.below(256),
        chance.below(256),
        chance.below(9),
        90 + chance.below(40),
        chance.below(20),
        chance.below(6),
    );
    drawn.expect("text can be written");
    line + &call(chance, number) + "}\n"
}

fn call(chance: &mut Chance, number: usize) -> String {
    let (word, count, half) = (chance.below(1 << 24), chance.below(100_000), chance.below(1_000));
    match chance.below(100) {
        0..70 => {
            let name = chance.below(NAMES as u64) as usize;
            let mut bag = String::new();
            for at in 0..4 + name % 8 {
                let value = match (at + name) % 5 {
                    0 => format!("\"v{word:06x}\""),
                    1 => count.to_string(),
                    2 => format!("{half}.25"),
                    3 => (count % 2 == 0).to_string(),
                    _ => format!(r#"[{{"product_id":"p{half}","price":{half}.5,"quantity":1}}]"#),
                };
                bag += &format!("{}\"prop{at}\":{value}", if at == 0 { "" } else { "," });
            }
            format!(r#""type":"track","event":"Custom Event {name}","properties":{{{bag}}}"#)
        }
        70..82 => r#""type":"page","name":"Home","properties":{"path":"/p","title":"T","url":"https://x.example/p"}"#
            .to_owned(),
        82..94 => format!(
            r#""type":"identify","traits":{{"email":"u{number}@x.example","plan":"pro","age":{},"address":{{"city":"Berlin","postalCode":"10115"}}}}"#,
            half % 90
        ),
        94..97 => r#""type":"screen","name":"Main","properties":{"variant":"b"}"#.to_owned(),
        97..99 => format!(r#""type":"group","groupId":"g{half}","traits":{{"name":"Acme","employees":{half}}}"#),
        _ => format!(r#""type":"alias","previousId":"anon-{number}""#),
    }
}
