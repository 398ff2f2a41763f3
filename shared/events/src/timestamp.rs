//! The one timestamp grammar: `YYYY-MM-DD`, then optionally `T` or one space and `HH:MM[:SS[.fraction]]`, then
//! optionally `Z`, `z`, `±HH`, `±HHMM` or `±HH:MM`; without a zone it is UTC.
//!
//! Years 0001 to 9999 (what Spark can show), at most 40 bytes, no impossible day. Fractions beyond microseconds are
//! cut off.

const MAX_BYTES: usize = 40;
const DAY_MICROS: i64 = 86_400_000_000;
/// 0001-01-01T00:00:00Z.
const EARLIEST: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z.
const LATEST: i64 = 253_402_300_799_999_999;

/// Microseconds since the epoch, or nothing when the text is no timestamp.
pub fn parse(text: &[u8]) -> Option<i64> {
    // Nearly every string that is no timestamp fails here.
    if text.len() < 10 || text.len() > MAX_BYTES || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&text[..4])?, digits(&text[5..7])?, digits(&text[8..10])?);
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    let (time, offset) = match text.get(10) {
        None => (0, 0),
        Some(b'T' | b' ') => time_of_day(&text[11..])?,
        Some(_) => return None,
    };
    in_range(days_from_civil(year, month, day) * DAY_MICROS + time - offset)
}

/// The moment `received - (sent - original)`: the client's clock corrected by the server's. Nothing when it falls
/// outside the years that a TIMESTAMP can show.
pub(crate) fn corrected(received: i64, sent: i64, original: i64) -> Option<i64> {
    in_range(received.checked_sub(sent.checked_sub(original)?)?)
}

/// The moment as text: `2026-01-15T10:00:00.500000Z`.
pub fn format(micros: i64) -> String {
    let (days, time) = (micros.div_euclid(DAY_MICROS), micros.rem_euclid(DAY_MICROS));
    let (year, month, day) = civil_from_days(days);
    let (second, fraction) = (time / 1_000_000, time % 1_000_000);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

fn in_range(micros: i64) -> Option<i64> {
    (EARLIEST..=LATEST).contains(&micros).then_some(micros)
}

/// Microseconds since midnight, and the zone's offset in microseconds.
fn time_of_day(text: &[u8]) -> Option<(i64, i64)> {
    if text.len() < 5 || text[2] != b':' {
        return None;
    }
    let (hour, minute) = (digits(&text[..2])?, digits(&text[3..5])?);
    let mut rest = &text[5..];
    let (mut second, mut fraction) = (0, 0);
    if let [b':', tens, ones, tail @ ..] = rest {
        second = digits(&[*tens, *ones])?;
        rest = tail;
        if let [b'.', tail @ ..] = rest {
            let length = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if length == 0 {
                return None;
            }
            fraction = tail[..length]
                .iter()
                .map(|byte| i64::from(byte - b'0'))
                .chain(std::iter::repeat(0))
                .take(6)
                .fold(0, |value, digit| value * 10 + digit);
            rest = &tail[length..];
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset = zone(rest)?;
    Some((((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction, offset))
}

fn zone(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2] => (sign, [*h1, *h2], [b'0', b'0']),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, [*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let (hours, minutes) = (digits(&hours)?, digits(&minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset = (hours * 60 + minutes) * 60_000_000;
    match sign {
        b'+' => Some(offset),
        b'-' => Some(-offset),
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (H. Hinnant's `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepted_forms() {
        let midnight = 1_686_700_800_000_000;
        for (text, micros) in [
            ("2023-06-14", midnight),
            ("2023-06-14 00:00:00", midnight),
            ("2023-06-14T00:00", midnight),
            ("2023-06-14T00:00Z", midnight),
            ("2023-06-14T00:00:00z", midnight),
            ("2023-06-14T02:00:00.000+02", midnight),
            ("2023-06-14T05:30:00+0530", midnight),
            ("2023-06-13T18:30:00.0-05:30", midnight),
            ("2023-06-14T00:00:00.1234567", midnight + 123_456),
            ("0001-01-01T00:00:00.000Z", EARLIEST),
            ("9999-12-31T23:59:59.999999Z", LATEST),
            ("2024-02-29", 1_709_164_800_000_000),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(micros), "{text}");
        }
    }

    #[test]
    fn refused_forms() {
        for text in [
            "",
            "2022/10-05T",
            "01/02/2024",
            "23-05-2024T10:00:00Z",
            "2023-06-14T25:00:00",
            "10:00:00",
            "+2023-06-14",
            "-2023-06-14",
            "1700000000",
            "0000-01-01",
            "1988-04-31",
            "2023-02-29",
            "2023-06-14T",
            "2023-06-14T1:00",
            "2023-06-14T10:00:00.",
            "2023-06-14T10:00:00+1",
            "2023-06-14  10:00",
            "2023-06-14t10:00",
            "2023-06-14Z",
            "2023-06-14T10:00:60Z",
            "2023-06-14T10:00:00+24:00",
            "2023-06-14T10:00:00.000Z07:00",
            "2023-06-14 10:00:00 ",
            "0001-01-01T00:00:00+01:00",
            "2023-06-14T10:00.5",
            "2023-06-14T10:00:00.1234567890123456789012345",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn segments_own_correction() {
        let at = |text: &str| parse(text.as_bytes()).unwrap();
        let corrected =
            corrected(at("2015-12-12T19:11:01.266Z"), at("2015-12-12T19:11:01.169Z"), at("2015-12-12T19:11:01.152Z"));
        assert_eq!(corrected, Some(at("2015-12-12T19:11:01.249Z")));
        assert_eq!(super::corrected(LATEST, EARLIEST, LATEST), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(micros in EARLIEST..=LATEST) {
            prop_assert_eq!(parse(format(micros).as_bytes()), Some(micros));
        }

        #[test]
        fn never_panics_and_every_day_counts_one(text in "[0-9TZ:. +-]{0,45}", day in 0i64..3_000_000) {
            parse(text.as_bytes());
            // Walk the calendar by its own rules: day n and day n + 1 differ by one day.
            let (mut year, mut month, mut rest) = (1 + day / 366, 1, day % 28 + 1);
            prop_assume!(year <= 9998);
            let first = days_from_civil(year, month, rest);
            rest += 1;
            if rest > days_in_month(year, month) { rest = 1; month += 1; }
            if month > 12 { month = 1; year += 1; }
            prop_assert_eq!(days_from_civil(year, month, rest), first + 1);
        }
    }
}
