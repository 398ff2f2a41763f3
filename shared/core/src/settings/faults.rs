//! Everything that is wrong with the settings, said at once.

use crate::fault::Fault;

/// What was noted so far.
#[derive(Default)]
pub(super) struct Faults(Vec<Noted>);

struct Noted {
    line: Option<usize>,
    says: String,
    advice: String,
}

impl Faults {
    /// Notes one: its line in the file if it has one, what is wrong, and what to do (may be empty).
    pub(super) fn note(&mut self, line: Option<usize>, says: String, advice: &str) {
        self.0.push(Noted { line, says, advice: advice.to_owned() });
    }

    /// One Setup fault of all, in the order of the file; none when nothing is wrong.
    pub(super) fn into_fault(mut self) -> Option<Fault> {
        self.0.sort_by_key(|noted| noted.line.unwrap_or(usize::MAX));
        match self.0.as_slice() {
            [] => None,
            [one] if one.advice.is_empty() => Some(Fault::setup(one.says.as_str())),
            [one] => Some(Fault::setup(one.says.as_str()).hint(one.advice.as_str())),
            all => {
                let line = |one: &Noted| match one.advice.as_str() {
                    "" => format!("\n{}", one.says),
                    advice => format!("\n{}; {advice}", one.says),
                };
                let lines: String = all.iter().map(line).collect();
                let fault = Fault::setup(format!("{} settings are wrong:{lines}", all.len()));
                Some(fault.hint("docs/settings.md describes every key"))
            }
        }
    }
}
