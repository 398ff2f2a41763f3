//! What the clouds' own clients share: who we are there, and what their answers mean.

#[cfg(feature = "aws")]
pub(crate) mod aws;
#[cfg(feature = "azure")]
pub(crate) mod azure;
#[cfg(test)]
#[cfg(any(feature = "aws", feature = "azure"))]
pub(crate) mod testing;

#[cfg(not(all(feature = "aws", feature = "azure")))]
use inlet_core::fault::Fault;

/// The fault of a build that has no clients of a cloud.
#[cfg(not(all(feature = "aws", feature = "azure")))]
pub(crate) fn not_built(what: &str, feature: &str) -> Fault {
    Fault::setup(format!("this build of Inlet does not know {what}")).hint(format!(
        "use the build that is made for it, or build one: cargo build --release -p inlet --features {feature}"
    ))
}

/// Whether a variable's value says yes.
#[cfg(any(feature = "aws", feature = "azure"))]
fn is_yes(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str())
}
