//! Where the process finds itself: on a terminal, or as a function that was started for its events.

use super::variable;
use crate::fault::Fault;

/// Where the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Somebody typed a command.
    Terminal,
    /// AWS Lambda started it.
    Lambda(LambdaHost),
    /// The host of Azure Functions started it as its custom handler, and speaks to this port of the loopback.
    Azure(u16),
}

/// What Lambda tells a function about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LambdaHost {
    /// The handler's name in the function's configuration.
    pub handler: String,
    /// The function's name.
    pub name: String,
    /// The function's memory in MiB; 1,769 are one core.
    pub memory_mib: u64,
}

/// What the Lambda runtime's client takes for granted.
const LAMBDA_ALWAYS_SETS: [&str; 2] = ["AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION"];

impl Host {
    /// Reads the variables by which each place makes itself known.
    ///
    /// # Errors
    /// Setup when a place makes itself known by half.
    pub fn of_environment() -> Result<Self, Fault> {
        Self::told_by(variable)
    }

    fn told_by(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let given = |name: &str| variable(name).filter(|text| !text.is_empty());
        if given("AWS_LAMBDA_RUNTIME_API").is_some() {
            let half = |name: &str| {
                Fault::setup(format!("`AWS_LAMBDA_RUNTIME_API` is set and `{name}` is not"))
                    .hint("both come from Lambda; on a terminal unset the first")
            };
            if let Some(missing) = LAMBDA_ALWAYS_SETS.into_iter().find(|name| given(name).is_none()) {
                return Err(half(missing));
            }
            let memory = given("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|text| text.parse().ok());
            return Ok(Self::Lambda(LambdaHost {
                handler: given("_HANDLER").unwrap_or_default(),
                name: given("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
                memory_mib: memory.ok_or_else(|| half("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))?,
            }));
        }
        match given("FUNCTIONS_CUSTOMHANDLER_PORT") {
            None => Ok(Self::Terminal),
            Some(text) => text.parse().map(Self::Azure).map_err(|_| {
                Fault::setup(format!("`FUNCTIONS_CUSTOMHANDLER_PORT` must be a port, not `{text}`"))
                    .hint("the Functions host sets it; on a terminal unset it")
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(variables: &[(&str, &str)]) -> Result<Host, Fault> {
        Host::told_by(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn each_place_is_known_by_its_variables() {
        assert_eq!(told(&[]).unwrap(), Host::Terminal);
        assert_eq!(told(&[("FUNCTIONS_CUSTOMHANDLER_PORT", "7071")]).unwrap(), Host::Azure(7071));
        let lambda = [
            ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
            ("AWS_LAMBDA_FUNCTION_NAME", "inlet-ingest"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"),
            ("_HANDLER", "ingest"),
        ];
        let host = LambdaHost { handler: "ingest".to_owned(), name: "inlet-ingest".to_owned(), memory_mib: 1769 };
        assert_eq!(told(&lambda).unwrap(), Host::Lambda(host));
        for missing in 1..4 {
            let mut half = lambda.to_vec();
            let (name, _) = half.remove(missing);
            assert!(told(&half).unwrap_err().to_string().contains(name), "{name}");
        }
    }

    #[test]
    fn a_port_that_is_none_is_said() {
        let said = told(&[("FUNCTIONS_CUSTOMHANDLER_PORT", "http")]).unwrap_err().to_string();
        assert_eq!(said, "`FUNCTIONS_CUSTOMHANDLER_PORT` must be a port, not `http`");
    }
}
