//! Numbers keep their exact text until a column's type is known; these are the ways from text to value.

/// The value of an integer's text when it fits 64 bits.
pub(crate) fn bigint(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// The nearest double of a number's text; nothing when that is infinite.
pub(crate) fn double(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// Whether `value`, the nearest double of an integer's text, is that integer exactly.
pub(crate) fn is_exact(text: &str, value: f64) -> bool {
    // Rust prints the exact decimal expansion of an integral double.
    let (text, value) = (text.strip_prefix('-').unwrap_or(text), value.abs());
    value < 9_007_199_254_740_992.0 || format!("{value:.0}") == text
}

/// A JSON number's integral part toward zero, when it fits 64 bits, and whether that is all of it. Exact: the text is
/// not rounded to a double on the way.
pub(crate) fn truncated(text: &str) -> Option<(i64, bool)> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some((0, true));
    }
    // An exponent beyond 64 bits only says "far away", on its own side.
    let far = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
    let exponent = exponent.trim_start_matches('+').parse().unwrap_or(far);
    let leading_zeros = (digits.len() - significant.len()) as i64;
    let point = (whole.len() as i64 - leading_zeros).saturating_add(exponent);
    if point <= 0 {
        return Some((0, false));
    }
    // 19 digits hold every 64-bit integer.
    let length = usize::try_from(point).ok().filter(|&length| length <= 19)?;
    let kept = significant.get(..length).unwrap_or(significant);
    let value = format!("{sign}{kept:0<length$}").parse().ok()?;
    let is_whole = significant.get(length..).unwrap_or_default().bytes().all(|digit| digit == b'0');
    Some((value, is_whole))
}

/// Whether the text is digits with an optional minus sign: text that casts to BIGINT.
pub(crate) fn is_integer_text(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the text is a JSON number: text that casts to DOUBLE.
pub(crate) fn is_number_text(text: &str) -> bool {
    scan(text.as_bytes(), 0).is_some_and(|(end, _)| end == text.len())
}

/// Scans a JSON number at `at`: its end, and whether it is an integer (no fraction, no exponent).
pub(crate) fn scan(bytes: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let run = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    at = match bytes.get(at)? {
        b'0' => at + 1,
        b'1'..=b'9' => run(at),
        _ => return None,
    };
    let mut integer = true;
    if bytes.get(at) == Some(&b'.') {
        integer = false;
        let end = run(at + 1);
        if end == at + 1 {
            return None;
        }
        at = end;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        integer = false;
        let digits = if matches!(bytes.get(at + 1), Some(b'+' | b'-')) { at + 2 } else { at + 1 };
        let end = run(digits);
        if end == digits {
            return None;
        }
        at = end;
    }
    Some((at, integer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for (text, expected) in [
            ("0", Some((1, true))),
            ("-0", Some((2, true))),
            ("12.50", Some((5, false))),
            ("1e3", Some((3, false))),
            ("1E-3", Some((4, false))),
            ("01", Some((1, true))),
            ("-", None),
            (".5", None),
            ("1.", None),
            ("1e", None),
            ("+1", None),
        ] {
            assert_eq!(scan(text.as_bytes(), 0), expected, "{text}");
        }
        assert!(!is_number_text("01") && is_number_text("3.5") && !is_number_text(""));
        assert!(is_integer_text("-12") && !is_integer_text("-") && !is_integer_text("1.0"));
    }

    #[test]
    fn truncation_is_exact() {
        for (text, expected) in [
            ("1.501", Some((1, false))),
            ("-1.9", Some((-1, false))),
            ("4.0", Some((4, true))),
            ("-0.0", Some((0, true))),
            ("1e18", Some((1_000_000_000_000_000_000, true))),
            ("9007199254740993.0", Some((9_007_199_254_740_993, true))),
            ("9223372036854775807.0", Some((i64::MAX, true))),
            ("-9223372036854775808.00", Some((i64::MIN, true))),
            ("9223372036854775808.0", None),
            ("1e30", None),
            ("1e400", None),
            ("1e-3", Some((0, false))),
            ("0.5e1", Some((5, true))),
            ("0.00e99999999999999999999", Some((0, true))),
            ("1e99999999999999999999", None),
            ("1e-99999999999999999999", Some((0, false))),
            ("12345e-2", Some((123, false))),
            ("0.0012e4", Some((12, true))),
        ] {
            assert_eq!(truncated(text), expected, "{text}");
        }
    }

    #[test]
    fn exactness_at_the_edges() {
        for (text, exact) in [
            ("9007199254740992", true),
            ("9007199254740993", false),
            ("-9007199254740993", false),
            ("9223372036854775808", true),
            ("9223372036854775807", false),
            ("12345678901234567890123", false),
            ("5", true),
        ] {
            assert_eq!(is_exact(text, double(text).unwrap()), exact, "{text}");
        }
        assert_eq!(double("1e400"), None);
        assert_eq!(bigint("9223372036854775808"), None);
    }
}
