//! Columns of text, aligned: the little that a report needs of a table.

/// Rows of cells under a heading; numbers stand to the right.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: &'static [usize],
}

impl Table {
    /// A table with these headings; the columns at `right` hold numbers.
    pub(crate) fn new(headings: &[&str], right: &'static [usize]) -> Self {
        let mut table = Self { rows: Vec::new(), right };
        table.push(&headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>());
        table
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, cells: &[String]) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    /// The text, a line per row, each begun with `indent`.
    pub(crate) fn text(&self, indent: &str) -> String {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = indent.to_owned();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column > 0 {
                    line.push_str("  ");
                }
                let padding = " ".repeat(width - cell.chars().count());
                let (before, after) =
                    if self.right.contains(&column) { (padding, String::new()) } else { (String::new(), padding) };
                line.push_str(&before);
                line.push_str(cell);
                line.push_str(&after);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Text that cannot steer a terminal: names come from whoever can write an event or a file.
pub(crate) fn plain(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || ('\u{202a}'..='\u{202e}').contains(&character) {
            clean.extend(character.escape_unicode());
        } else {
            clean.push(character);
        }
    }
    clean
}

/// A number with its thousands apart: `1,234,567`.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2 rows`, `1,000 rows`.
pub(crate) fn counted(value: u64, one: &str) -> String {
    format!("{} {one}{}", number(value), if value == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_aligned_and_nothing_trails() {
        let mut table = Table::new(&["table", "rows", "new"], &[1]);
        table.push(&["a".into(), "1,000".into(), String::new()]);
        table.push(&["long.name".into(), "1".into(), "x".into()]);
        assert_eq!(table.text(""), "table       rows  new\na          1,000\nlong.name      1  x\n");
    }

    #[test]
    fn numbers_and_names_read_well() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "row") + &counted(2, "row"), "1 row2 rows");
        assert_eq!(plain("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\u{a}");
    }
}
