//! The lines in a hint that somebody can copy and run, without the words around them.

use serde::Serialize;

/// A line to copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToRun {
    /// Where it is run: `sql`, `shell`, `powershell`, or `policy`, a statement to add to one.
    pub language: &'static str,
    /// The line itself. What stands between `<` and `>` is not known here.
    pub text: String,
}

/// How lines begin, and what they are.
const BEGINNINGS: [(&str, &str); 8] = [
    ("GRANT ", "sql"),
    ("CREATE ", "sql"),
    ("ALTER ", "sql"),
    ("databricks ", "shell"),
    ("az ", "shell"),
    ("aws ", "shell"),
    ("inlet ", "shell"),
    ("{\"", "policy"),
];

/// What ends a line: the next one, or words about it.
const ENDS: [&str; 7] = ["; ", ", or ", ", or: ", " -- ", " (set-up step", " and {", "; or"];

impl ToRun {
    pub(super) fn new(language: &'static str, text: impl Into<String>) -> Self {
        Self { language, text: text.into() }
    }
}

/// The lines of a hint, in their order.
pub(super) fn of(hint: &str) -> Vec<ToRun> {
    let mut lines = Vec::new();
    let mut at = 0;
    while let Some(rest) = hint.get(at..) {
        match beginning(hint, at) {
            Some(language) => {
                let text = line(rest);
                at += text.len();
                lines.extend(in_powershell(text));
                lines.push(ToRun::new(language, text));
            }
            None => match rest.chars().next() {
                Some(next) => at += next.len_utf8(),
                None => break,
            },
        }
    }
    lines
}

/// What begins at this place: a line stands at the beginning of a hint, or behind words that lead to it.
fn beginning(hint: &str, at: usize) -> Option<&'static str> {
    let (before, rest) = hint.split_at_checked(at)?;
    let leads = before.is_empty() || [": ", "; ", " or ", "} and "].iter().any(|end| before.ends_with(end));
    let found = BEGINNINGS.iter().find(|(beginning, _)| rest.starts_with(beginning));
    found.filter(|_| leads).map(|(_, language)| *language)
}

/// To the first end that stands in no quotes.
fn line(rest: &str) -> &str {
    let mut quote = None;
    for (at, character) in rest.char_indices() {
        match quote {
            Some(open) if open == character => quote = None,
            Some(_) => {}
            None if ['\'', '"', '`'].contains(&character) => quote = Some(character),
            None => {
                let (line, behind) = rest.split_at(at);
                if ENDS.iter().any(|end| behind.starts_with(end)) {
                    return line;
                }
            }
        }
    }
    rest
}

/// The set-up guide recommends PowerShell for letting a service principal into a tenant.
fn in_powershell(line: &str) -> Option<ToRun> {
    let id = line.strip_prefix("az ad sp create --id ")?;
    Some(ToRun::new("powershell", format!("New-AzADServicePrincipal -applicationId {id}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(hint: &str) -> Vec<(&'static str, String)> {
        of(hint).into_iter().map(|one| (one.language, one.text)).collect()
    }

    #[test]
    fn lines_are_found_between_words() {
        let hint = "create it (set-up step: create a catalog): CREATE CATALOG `shop; or`; GRANT ALL PRIVILEGES ON \
                    CATALOG `shop` TO `a`, or: GRANT USE CATALOG ON CATALOG `shop` TO `a`";
        let sql = |text: &str| ("sql", text.to_owned());
        assert_eq!(
            lines(hint),
            [
                sql("CREATE CATALOG `shop; or`"),
                sql("GRANT ALL PRIVILEGES ON CATALOG `shop` TO `a`"),
                sql("GRANT USE CATALOG ON CATALOG `shop` TO `a`"),
            ]
        );
        let entitled = "a workspace admin: databricks service-principals patch 7 --json '{\"op\":\"a; b\"}' \
                        (set-up step: enable entitlements)";
        assert_eq!(
            lines(entitled),
            [("shell", "databricks service-principals patch 7 --json '{\"op\":\"a; b\"}'".to_owned())]
        );
        let location =
            "create one (set-up step): CREATE EXTERNAL LOCATION `inlet` URL 's3://a' WITH (STORAGE CREDENTIAL `c`)";
        assert_eq!(lines(location)[0].1, location.split_once("): ").unwrap().1);
    }

    #[test]
    fn a_principal_is_let_in_by_either_shell() {
        let hint =
            "az ad sp create --id 0a1b -- in the customer's tenant (set-up step: …), or correct `auth.tenant_id`";
        assert_eq!(
            lines(hint),
            [
                ("powershell", "New-AzADServicePrincipal -applicationId 0a1b".to_owned()),
                ("shell", "az ad sp create --id 0a1b".to_owned()),
            ]
        );
    }

    #[test]
    fn a_policy_is_each_of_its_statements() {
        let hint = "allow this identity, in its policy and the bucket's: {\"Effect\": \"Allow\", \"Action\": [\"s3:PutObject\"]} \
                    and {\"Effect\": \"Allow\"}";
        assert_eq!(
            lines(hint),
            [
                ("policy", "{\"Effect\": \"Allow\", \"Action\": [\"s3:PutObject\"]}".to_owned()),
                ("policy", "{\"Effect\": \"Allow\"}".to_owned()),
            ]
        );
    }

    #[test]
    fn words_alone_are_no_lines() {
        for hint in [
            "",
            "check `workspace_url`: https://<name>.cloud.databricks.com",
            "SQL Warehouses > x > Edit",
            "grant what the message names",
            "name one: s3://aws databricks",
        ] {
            assert_eq!(lines(hint), [], "{hint}");
        }
    }
}
