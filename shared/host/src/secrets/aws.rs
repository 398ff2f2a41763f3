//! AWS Secrets Manager: a secret that is the text itself, or a member of the JSON object that it holds.

use aws_config::{Region, SdkConfig};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Builder;
use inlet_core::fault::Fault;
use inlet_core::secret::Secret;
use serde_json::Value;

use crate::cloud::aws::{self, Refusal};

/// The current version of a secret, by its name or ARN.
pub(super) async fn read(id: &str, member: Option<&str>) -> Result<Secret, Fault> {
    of(aws::ambient().await, id, member).await
}

async fn of(config: &SdkConfig, id: &str, member: Option<&str>) -> Result<Secret, Fault> {
    let mut builder = Builder::from(config);
    if let Some(region) = region_of(id) {
        builder = builder.region(Region::new(region));
    }
    let answer = Client::from_conf(builder.build()).get_secret_value().secret_id(id).send().await;
    let answer = answer.map_err(|error| fault(Refusal::from(error)))?;
    let text = answer.secret_string().ok_or_else(|| {
        Fault::setup("the secret holds bytes and no text").hint("store the service principal's secret as text")
    })?;
    member_of(text.trim(), member)
}

/// The region of an ARN: `arn:aws:secretsmanager:REGION:…`, `arn:aws:ssm:REGION:…`.
pub(super) fn region_of(id: &str) -> Option<String> {
    id.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty()).map(str::to_owned)
}

fn member_of(text: &str, member: Option<&str>) -> Result<Secret, Fault> {
    let object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    };
    let found = match (member, &object) {
        (None, None) => text,
        (None, Some(_)) => {
            return Err(Fault::setup("the secret holds a JSON object").hint("name its member: aws-secret:NAME#member"));
        }
        (Some(_), None) => {
            return Err(Fault::setup("the secret holds no JSON object").hint("leave `#member` out"));
        }
        (Some(member), Some(object)) => match object.get(member) {
            Some(Value::String(text)) => text.trim(),
            _ => {
                let names = object.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                let fault = Fault::setup(format!("the secret has no text `{member}`"));
                return Err(fault.hint(format!("its members are {names}")));
            }
        },
    };
    if found.is_empty() { Err(super::empty()) } else { Ok(Secret::new(found)) }
}

fn fault(refusal: Refusal) -> Fault {
    let fault = if refusal.is_of_credentials() {
        Fault::setup("no valid credentials for AWS Secrets Manager").hint(aws::SIGN_IN)
    } else if refusal.is(&["ResourceNotFoundException"]) {
        Fault::setup("no such secret").hint("check its name and region; an ARN names both")
    } else if refusal.is(&["AccessDeniedException"]) {
        Fault::setup("not allowed to read the secret")
            .hint("grant secretsmanager:GetSecretValue on it, and kms:Decrypt on its key where that is yours")
    } else if refusal.is(&["InvalidRequestException", "DecryptionFailure"]) {
        Fault::setup("the secret cannot be read").hint("is it to be deleted, or its key disabled?")
    } else {
        Fault::again("AWS Secrets Manager does not answer")
    };
    fault.because(refusal)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_config::retry::RetryConfig;
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::SharedCredentialsProvider;
    use inlet_core::fault::FaultKind;

    use super::*;
    use crate::cloud::testing::{Answer, Server, answer};

    const ARN: &str = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:inlet-AbCdEf";

    fn read(server: &Server, id: &str, member: Option<&str>) -> Result<String, Fault> {
        let credentials = Credentials::new("key", "secret", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(aws::version())
            .region(Region::new("eu-west-1"))
            .endpoint_url(&server.url)
            .retry_config(RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(1)))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(of(&config, id, member)).map(|secret| secret.expose().to_owned())
    }

    fn holding(secret: &str) -> Answer {
        answer(200, serde_json::json!({ "Name": "inlet", "SecretString": secret }).to_string())
            .header("content-type: application/x-amz-json-1.1")
    }

    fn refusing(status: u16, code: &str) -> Answer {
        answer(status, format!(r#"{{"__type":"{code}","message":"{code} it is"}}"#))
            .header("content-type: application/x-amz-json-1.1")
            .header("x-amzn-requestid: 0a1b-2c3d")
    }

    #[test]
    fn a_secret_is_the_text_or_a_member_of_it() {
        let server = Server::start(vec![holding("dose1\n"), holding(r#"{"client_secret":"dose2","id":7}"#)]);
        assert_eq!(read(&server, "inlet", None).unwrap(), "dose1");
        assert_eq!(read(&server, ARN, Some("client_secret")).unwrap(), "dose2");
        let asked = server.asked();
        assert_eq!(asked[0].header("x-amz-target"), Some("secretsmanager.GetSecretValue"));
        assert_eq!(asked[0].body, r#"{"SecretId":"inlet"}"#);
        let regions = ["/eu-west-1/secretsmanager/", "/eu-central-1/secretsmanager/"];
        for (asked, region) in asked.iter().zip(regions) {
            assert!(asked.header("authorization").unwrap().contains(region), "the region of the ARN");
        }
    }

    #[test]
    fn a_secret_of_another_shape_is_said_without_repeating_it() {
        let object = r#"{"client_secret":"truth","id":7}"#;
        for (held, member, says) in [
            (object, None, "holds a JSON object"),
            (object, Some("secret"), "has no text `secret`"),
            (object, Some("id"), "has no text `id`"),
            ("truth", Some("client_secret"), "holds no JSON object"),
            (" ", None, "is empty"),
        ] {
            let fault = read(&Server::start(vec![holding(held)]), "inlet", member).unwrap_err();
            assert!(fault.to_string().contains(says), "{fault}");
            assert!(!format!("{fault:?}").contains("truth"), "{fault:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_grant() {
        for (status, code, kind, says) in [
            (400, "ResourceNotFoundException", FaultKind::Setup, "no such secret"),
            (400, "AccessDeniedException", FaultKind::Setup, "not allowed to read the secret"),
            (400, "UnrecognizedClientException", FaultKind::Setup, "no valid credentials"),
            (500, "InternalServiceError", FaultKind::Again, "does not answer"),
        ] {
            let fault = read(&Server::start(vec![refusing(status, code)]), "inlet", None).unwrap_err();
            assert_eq!(fault.kind(), kind, "{code}");
            assert!(fault.to_string().contains(says), "{fault}");
            assert!(fault.chain().contains("request 0a1b-2c3d"), "{}", fault.chain());
        }
    }
}
