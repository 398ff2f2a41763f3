//! The JSON object that keeps what fits no column of its row.

use crate::text::write_json_string;

/// One row's `_rescued_data`, built as values are met.
#[derive(Debug, Default)]
pub(crate) struct Rescue {
    json: Vec<u8>,
    keys: Vec<String>,
}

impl Rescue {
    pub(crate) fn clear(&mut self) {
        self.json.clear();
        self.keys.clear();
    }

    /// Adds a value as it stands in the source. A second value of a key is `<key>#2`.
    pub(crate) fn add(&mut self, key: &str, source: &[u8]) {
        let mut unique = key.to_owned();
        let mut count = 1;
        while self.keys.contains(&unique) {
            count += 1;
            unique = format!("{key}#{count}");
        }
        self.json.push(if self.keys.is_empty() { b'{' } else { b',' });
        write_json_string(unique.as_bytes(), &mut self.json);
        self.json.push(b':');
        self.json.extend_from_slice(source);
        self.keys.push(unique);
    }

    /// How many values it keeps.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The object, when there is anything in it.
    pub(crate) fn finish(&mut self) -> Option<&[u8]> {
        if self.keys.is_empty() {
            return None;
        }
        self.json.push(b'}');
        Some(&self.json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_loser_gets_a_number() {
        let mut rescue = Rescue::default();
        assert_eq!(rescue.finish(), None);
        for (key, source) in [("a", "1.50"), ("a#2", "0"), ("a", "\"\\ud83d\""), ("q\"", "[1]")] {
            rescue.add(key, source.as_bytes());
        }
        assert_eq!(rescue.len(), 4);
        assert_eq!(String::from_utf8_lossy(rescue.finish().unwrap()), r#"{"a":1.50,"a#2":0,"a#3":"\ud83d","q\"":[1]}"#);
    }
}
