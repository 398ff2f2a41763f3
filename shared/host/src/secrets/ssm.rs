//! Parameter Store of AWS Systems Manager: one request of its API, which needs no client of its own. It is signed, sent and
//! tried again as the clients' own requests are.

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::config::{Layer, RuntimeComponentsBuilder};
use aws_sdk_s3::error::{BoxError, ErrorMetadata};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::client::auth::AuthSchemeOptionResolverParams;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::identity::SharedIdentityResolver;
use aws_smithy_runtime_api::client::orchestrator::{OrchestratorError, SensitiveOutput};
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use inlet_core::fault::Fault;
use inlet_core::secret::Secret;
use serde_json::{Value, json};

use super::aws::region_of;
use crate::cloud::aws::{self, Refusal};

const SERVICE: &str = "ssm";
/// A parameter has at most 8 KiB; no answer about one comes near this.
const ANSWER_BYTES: usize = 64 << 10;

/// A parameter, decrypted, by its name or ARN.
pub(super) async fn read(name: &str) -> Result<Secret, Fault> {
    of(aws::ambient().await, name).await
}

async fn of(config: &SdkConfig, name: &str) -> Result<Secret, Fault> {
    let region = region_of(name).map(Region::new).or_else(|| config.region().cloned());
    let region = region.ok_or_else(|| Fault::setup("no region for AWS Systems Manager").hint("set AWS_REGION"))?;
    let endpoint = config.endpoint_url().map_or_else(|| endpoint(region.as_ref()), str::to_owned);
    let mut operation = Operation::builder()
        .service_name(SERVICE)
        .operation_name("GetParameter")
        .behavior_version(aws::version())
        .endpoint_url(&endpoint)
        .timeout_config(config.timeout_config().cloned().unwrap_or_else(TimeoutConfig::disabled))
        .standard_retry(config.retry_config().unwrap_or(&RetryConfig::standard()))
        .retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new())
        .retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
        .retry_classifier(HttpStatusCodeClassifier::default())
        .runtime_plugin(signed(config, region));
    if let Some(client) = config.http_client() {
        operation = operation.http_client(client);
    }
    let operation = operation.serializer(request).deserializer(answer).build();
    let asked = json!({"Name": name, "WithDecryption": true}).to_string();
    let text = operation.invoke(asked).await.map_err(|error| fault(Refusal::from(error)))?;
    if text.is_empty() { Err(super::empty()) } else { Ok(text) }
}

/// Where a region's Parameter Store is asked; China is a cloud of its own.
fn endpoint(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://{SERVICE}.{region}.amazonaws.com{suffix}")
}

/// As whom the request is signed, and for where.
fn signed(config: &SdkConfig, region: Region) -> StaticRuntimePlugin {
    let mut layer = Layer::new(SERVICE);
    layer.store_put(AuthSchemeOptionResolverParams::new(()));
    layer.store_put(SigV4OperationSigningConfig {
        region: Some(region.into()),
        name: Some(SERVICE.into()),
        ..SigV4OperationSigningConfig::default()
    });
    layer.store_put(SensitiveOutput);
    let mut components = RuntimeComponentsBuilder::new(SERVICE)
        .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID])))
        .with_auth_scheme(SigV4AuthScheme::new())
        .with_identity_cache(config.identity_cache());
    if let Some(credentials) = config.credentials_provider() {
        components.set_identity_resolver(SCHEME_ID, SharedIdentityResolver::new(credentials));
    }
    StaticRuntimePlugin::new().with_config(layer.freeze()).with_runtime_components(components)
}

fn request(asked: String) -> Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(SdkBody::from(asked));
    request.set_method("POST")?;
    request.headers_mut().insert("content-type", "application/x-amz-json-1.1");
    request.headers_mut().insert("x-amz-target", "AmazonSSM.GetParameter");
    Ok(request)
}

/// The value, or AWS's word for why there is none. The value's own words are never part of an error.
fn answer(response: &HttpResponse) -> Result<Secret, OrchestratorError<ErrorMetadata>> {
    let bytes = response.body().bytes().filter(|bytes| bytes.len() <= ANSWER_BYTES);
    let said = bytes.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok()).unwrap_or_default();
    let text = |pointer: &str| said.pointer(pointer).and_then(Value::as_str);
    if response.status().is_success()
        && let Some(value) = text("/Parameter/Value")
    {
        return Ok(Secret::new(value.trim()));
    }
    let mut refusal = ErrorMetadata::builder();
    if response.status().is_success() {
        refusal = refusal.message("the answer holds no parameter");
    } else {
        // `com.amazonaws.ssm#ParameterNotFound`, or without what stands before.
        if let Some(code) = text("/__type").and_then(|code| code.rsplit('#').next()) {
            refusal = refusal.code(code);
        }
        if let Some(message) = text("/message").or_else(|| text("/Message")) {
            refusal = refusal.message(message);
        }
    }
    Err(OrchestratorError::operation(refusal.build()))
}

fn fault(refusal: Refusal) -> Fault {
    let fault = if refusal.is_of_credentials() {
        Fault::setup("no valid credentials for AWS Systems Manager").hint(aws::SIGN_IN)
    } else if refusal.is(&["ParameterNotFound", "ParameterVersionNotFound"]) {
        Fault::setup("no such parameter").hint("check its name and region; an ARN names both")
    } else if refusal.is(&["AccessDeniedException"]) {
        Fault::setup("not allowed to read the parameter")
            .hint("grant ssm:GetParameter on it, and kms:Decrypt on its key where that is yours")
    } else if refusal.is(&["InvalidKeyId", "ValidationException"]) {
        Fault::setup("the parameter cannot be read").hint("is its name right, and its key there and enabled?")
    } else {
        Fault::again("AWS Systems Manager does not answer")
    };
    fault.because(refusal)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_credential_types::Credentials;
    use aws_credential_types::credential_fn::provide_credentials_fn;
    use aws_credential_types::provider::SharedCredentialsProvider;
    use aws_credential_types::provider::error::CredentialsError;
    use inlet_core::fault::FaultKind;

    use super::*;
    use crate::cloud::testing::{Answer, Server, answer as answered};

    const NAME: &str = "/prod/inlet/client_secret";
    const ARN: &str = "arn:aws:ssm:eu-central-1:111122223333:parameter/prod/inlet";

    fn config(endpoint: Option<&str>) -> SdkConfig {
        let credentials = Credentials::new("key", "hidden", Some("session".to_owned()), None, "test");
        let retries = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(1));
        let mut config = SdkConfig::builder()
            .behavior_version(aws::version())
            .region(Region::new("eu-west-1"))
            .retry_config(retries)
            .credentials_provider(SharedCredentialsProvider::new(credentials));
        config.set_endpoint_url(endpoint.map(str::to_owned));
        config.build()
    }

    fn read(server: &Server, name: &str) -> Result<String, Fault> {
        read_as(&config(Some(&server.url)), name)
    }

    fn read_as(config: &SdkConfig, name: &str) -> Result<String, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(of(config, name)).map(|secret| secret.expose().to_owned())
    }

    fn holding(value: &str) -> Answer {
        answered(200, json!({"Parameter": {"Name": NAME, "Type": "SecureString", "Value": value}}).to_string())
    }

    fn refusing(status: u16, code: &str) -> Answer {
        answered(status, json!({"__type": code, "message": "so it is"}).to_string())
            .header("x-amzn-requestid: 0a1b-2c3d")
    }

    #[test]
    fn a_parameter_is_asked_for_decrypted_by_a_signed_request() {
        let server = Server::start(vec![holding("dose1\n"), holding("dose2")]);
        assert_eq!((read(&server, NAME).unwrap(), read(&server, ARN).unwrap()), ("dose1".into(), "dose2".into()));
        let asked = server.asked();
        assert_eq!(asked[0].line, "POST /");
        assert_eq!(asked[0].header("x-amz-target"), Some("AmazonSSM.GetParameter"));
        assert_eq!(asked[0].header("content-type"), Some("application/x-amz-json-1.1"));
        assert_eq!(asked[0].header("x-amz-security-token"), Some("session"));
        assert_eq!(
            serde_json::from_str::<Value>(&asked[0].body).unwrap(),
            json!({"Name": NAME, "WithDecryption": true})
        );
        for (asked, region) in asked.iter().zip(["eu-west-1", "eu-central-1"]) {
            let signature = asked.header("authorization").unwrap();
            assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=key/"), "{signature}");
            assert!(signature.contains(&format!("/{region}/ssm/aws4_request, ")), "the region of the ARN: {signature}");
            let names = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, ";
            assert!(signature.contains(names), "{signature}");
        }
    }

    #[test]
    fn each_region_has_its_own_address() {
        assert_eq!(endpoint("eu-west-1"), "https://ssm.eu-west-1.amazonaws.com");
        assert_eq!(endpoint("cn-north-1"), "https://ssm.cn-north-1.amazonaws.com.cn");
    }

    #[test]
    fn a_refusal_says_what_to_grant() {
        for (status, code, kind, says) in [
            (400, "ParameterNotFound", FaultKind::Setup, "no such parameter"),
            (400, "com.amazonaws.ssm#ParameterVersionNotFound", FaultKind::Setup, "no such parameter"),
            (400, "AccessDeniedException", FaultKind::Setup, "not allowed to read the parameter"),
            (400, "InvalidKeyId", FaultKind::Setup, "cannot be read"),
            (400, "UnrecognizedClientException", FaultKind::Setup, "no valid credentials"),
            (400, "ThrottlingException", FaultKind::Again, "does not answer"),
            (500, "InternalServerError", FaultKind::Again, "does not answer"),
        ] {
            let server = Server::start(vec![refusing(status, code)]);
            let fault = read(&server, NAME).unwrap_err();
            assert_eq!(fault.kind(), kind, "{code}");
            assert!(fault.to_string().contains(says), "{fault}");
            assert!(fault.chain().contains("request 0a1b-2c3d"), "{}", fault.chain());
            let tries = if kind == FaultKind::Again { 2 } else { 1 };
            assert_eq!(server.asked().len(), tries, "{code}: only what may pass is asked for again");
        }
    }

    #[test]
    fn an_answer_of_another_form_is_said_without_repeating_it() {
        for (body, kind, says) in [
            (r#"{"Parameter":{"Value":" "}}"#.to_owned(), FaultKind::Setup, "is empty"),
            (r#"{"Parameter":{"Value":7,"Name":"truth"}}"#.to_owned(), FaultKind::Again, "does not answer"),
            ("truth".to_owned(), FaultKind::Again, "does not answer"),
            (json!({"Parameter": {"Value": "truth".repeat(20_000)}}).to_string(), FaultKind::Again, "does not answer"),
        ] {
            let fault = read(&Server::start(vec![answered(200, body)]), NAME).unwrap_err();
            assert_eq!(fault.kind(), kind);
            assert!(fault.to_string().contains(says), "{fault}");
            assert!(!format!("{fault:?}{}", fault.chain()).contains("truth"), "{fault:?}");
        }
    }

    #[test]
    fn without_credentials_it_says_how_to_sign_in() {
        let server = Server::start(vec![holding("dose")]);
        let nobody = provide_credentials_fn(|| async { Err(CredentialsError::not_loaded("nobody is signed in")) });
        let nobody = SharedCredentialsProvider::new(nobody);
        let config = config(Some(&server.url)).into_builder().credentials_provider(nobody).build();
        let fault = read_as(&config, NAME).unwrap_err();
        assert_eq!((fault.kind(), fault.hint_text()), (FaultKind::Setup, Some(aws::SIGN_IN)));
        assert!(server.asked().is_empty());
    }
}
