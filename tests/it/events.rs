//! Events made up for tests: plain ones, whose columns have one type whatever the order, and the packings.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::Chance;

/// The times of an event that says nothing else about them.
pub(crate) const TIMES: &str = r#""receivedAt":"2026-03-15T12:00:00.500Z","sentAt":"2026-03-15T12:00:00.400Z","originalTimestamp":"2026-03-15T12:00:00.000Z","timestamp":"2026-03-15T12:00:00.100Z""#;

/// A track with these properties (a JSON object).
pub(crate) fn track(id: &str, event: &str, properties: &str) -> String {
    format!(
        r#"{{"type":"track","messageId":"{id}","userId":"u1","event":"{event}",{TIMES},"properties":{properties}}}"#
    )
}

/// A track that came without an id.
pub(crate) fn nameless(event: &str, properties: &str) -> String {
    format!(r#"{{"type":"track","userId":"u1","event":"{event}",{TIMES},"properties":{properties}}}"#)
}

/// Lines of an upload.
pub(crate) fn lines<T: AsRef<str>>(events: &[T]) -> Vec<u8> {
    events.iter().flat_map(|event| [event.as_ref(), "\n"]).collect::<String>().into_bytes()
}

/// Packed as Segment packs.
pub(crate) fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

/// Calls of all six kinds whose ids begin with `prefix`. Each column has one type in all of them, so that the order in
/// which uploads land changes nothing; ids do not repeat.
pub(crate) fn calls(chance: &mut Chance, prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| call(chance, &format!("{prefix}-{number:05}"))).collect()
}

fn call(chance: &mut Chance, id: &str) -> String {
    let user = format!(r#""userId":"u{}","anonymousId":"a{}""#, chance.below(50), chance.below(70));
    let (number, half, flag) = (chance.below(100_000), chance.below(1_000), chance.is(50));
    let context = format!(
        r#""context":{{"ip":"10.0.{}.{}","locale":"de-DE","page":{{"url":"https://shop.example/p/{number}","referrer":null}},"screen":{{"width":{half}}},"app":{{"build":"{id}"}}}}"#,
        chance.below(256),
        chance.below(256),
    );
    let minute = chance.below(60);
    let times = format!(
        r#""timestamp":"2026-03-15T11:{minute:02}:00.123Z","originalTimestamp":"2026-03-15T11:{minute:02}:00Z","sentAt":"2026-03-15T11:{minute:02}:01.5Z","receivedAt":"2026-03-15T12:{minute:02}:00.250Z""#
    );
    let head = |kind: &str| format!(r#"{{"messageId":"{id}","type":"{kind}",{user},{times},{context}"#);
    match chance.below(12) {
        0 => format!(
            r#"{},"traits":{{"email":"{number}@example.org","plan":"pro","seats":{half},"vip":{flag}}}}}"#,
            head("identify")
        ),
        1 => format!(r#"{},"name":"Page {half}","properties":{{"path":"/{number}","depth":{half}}}}}"#, head("page")),
        2 => format!(r#"{},"name":"Screen {half}","properties":{{"variation":{number}}}}}"#, head("screen")),
        3 => format!(
            r#"{},"groupId":"g{half}","traits":{{"name":"Company {half}","employees":{number}}}}}"#,
            head("group")
        ),
        4 => format!(r#"{},"previousId":"p{number}"}}"#, head("alias")),
        5 | 6 => format!(
            r#"{},"event":"Order Completed","properties":{{"orderId":"o{number}","total":{number}.5,"items":[{{"sku":"s{half}","n":{half}}}],"gift":{flag},"shippedAt":"2026-03-16T09:{minute:02}:00Z"}}}}"#,
            head("track")
        ),
        7 | 8 => format!(
            r#"{},"event":"Product Viewed","properties":{{"sku":"s{half}","price":{half}.25}}}}"#,
            head("track")
        ),
        9 => format!(
            r#"{},"event":"Signed Up","properties":{{"plan":{{"name":"p{half}","months":{half}}}}}}}"#,
            head("track")
        ),
        _ => format!(
            r#"{},"event":"Searched","properties":{{"query":"wörter {number}","hits":{half},"ok":{flag}}}}}"#,
            head("track")
        ),
    }
}
