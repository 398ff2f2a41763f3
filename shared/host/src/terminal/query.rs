//! Lines to copy: a query about one table, quoted for SQL and for the shell around it.

use inlet_core::sql;
use url::Url;

/// `duckdb -c "SELECT <what> FROM delta_scan('<lake>/<schema>/<table>') <rest>"`.
pub(crate) fn duckdb(lake: &Url, schema: &str, table: &str, what: &str, rest: &str) -> String {
    let place = format!("{}/{schema}/{table}", sql::local_path(lake.as_str())).replace('\'', "''");
    let rest = if rest.is_empty() { String::new() } else { format!(" {rest}") };
    let query = format!("SELECT {what} FROM delta_scan('{place}'){rest}");
    let mut line = String::from("duckdb -c \"");
    for character in query.chars() {
        if matches!(character, '"' | '\\' | '$' | '`') {
            line.push('\\');
        }
        line.push(character);
    }
    line.push('"');
    line
}

/// A word as the shell takes it: quoted when it must be.
pub(crate) fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_break_out_of_their_quotes() {
        let lake = Url::from_directory_path("/it's $HOME").unwrap();
        assert_eq!(
            duckdb(&lake, "web", "tracks", "*", "LIMIT 10"),
            r#"duckdb -c "SELECT * FROM delta_scan('/it''s \$HOME/web/tracks') LIMIT 10""#
        );
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("./a-b.gz"), "./a-b.gz");
    }
}
