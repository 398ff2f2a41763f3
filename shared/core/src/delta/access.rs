//! What the identity that uses a lake's store must be allowed, as the line to run or the statement to add, with all that
//! the lake's address says filled in.

use url::Url;

/// What stands for the identity that uses a lake in a line to run, where nobody knows its id.
pub(crate) const LAKE_IDENTITY: &str = "<client id of the identity that uses the lake>";

/// What to grant after a store denied something at `place`, in these words.
pub(super) fn way_in(place: &Url, said: &str) -> String {
    let says = |words: &str| said.contains(words);
    match place.scheme() {
        "s3" | "s3a" if says("kms:") => {
            "allow this identity kms:GenerateDataKey and kms:Decrypt on the bucket's key: in its policy and in the key's"
                .to_owned()
        }
        "s3" | "s3a" => s3_statements(place.host_str().unwrap_or("<bucket>")),
        // Only the account's network rules answer so; a missing role is a mismatch.
        "abfss" | "abfs" | "az" | "azure" if says("AuthorizationFailure") => format!(
            "let this machine's network into storage account `{}` (Networking: its firewall, a private endpoint); the \
             role alone is not enough",
            azure_account(place)
        ),
        "abfss" | "abfs" | "az" | "azure" => azure_assignment(place),
        _ => format!("grant this identity read, write and list on {place}"),
    }
}

/// What to do where nothing is at `place`.
pub(super) fn way_to_make(place: &Url, said: &str) -> String {
    let is_bucket = ["NoSuchBucket", "ContainerNotFound", "FilesystemNotFound"].iter().any(|code| said.contains(code));
    match place.scheme() {
        "s3" | "s3a" if is_bucket => {
            format!("check the bucket's name, or make it: aws s3 mb s3://{}", place.host_str().unwrap_or("<bucket>"))
        }
        "abfss" | "abfs" | "az" | "azure" if is_bucket => format!(
            "check the container's name, or make it: az storage container create --account-name {} --name {} \
             --auth-mode login",
            azure_account(place),
            azure_container(place)
        ),
        _ => format!("check that {place} exists and is spelled right"),
    }
}

/// What to do where the credentials themselves are not known.
pub(super) fn way_to_sign_in(place: &Url, said: &str) -> String {
    match place.scheme() {
        "abfss" | "abfs" | "az" | "azure" if said.contains("Issuer validation") => format!(
            "the token is of another tenant than storage account `{}`: set `storage.tenant_id` to the account's \
             (az account show --query tenantId)",
            azure_account(place)
        ),
        "abfss" | "abfs" | "az" | "azure" if said.contains("udience validation") => {
            "the token is not one for storage: it must be asked for with the scope https://storage.azure.com/.default"
                .to_owned()
        }
        _ => format!("the store did not accept the credentials for {place}; check the environment or the role"),
    }
}

/// The region that a bucket lies in, where the answer says it.
pub(super) fn right_region(said: &str) -> String {
    let expected = said.split_once("expecting '").and_then(|(_, rest)| rest.split('\'').next());
    let region = expected.filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    format!("the bucket lies in another region: set AWS_REGION={}", region.unwrap_or("<the bucket's>"))
}

/// Reading, writing, clean-up, and parts of large files that came to nothing.
fn s3_statements(bucket: &str) -> String {
    format!(
        "allow this identity, in its policy and the bucket's: \
         {{\"Effect\": \"Allow\", \"Action\": [\"s3:GetObject\", \"s3:PutObject\", \"s3:DeleteObject\", \
         \"s3:AbortMultipartUpload\"], \"Resource\": \"arn:aws:s3:::{bucket}/*\"}} and \
         {{\"Effect\": \"Allow\", \"Action\": \"s3:ListBucket\", \"Resource\": \"arn:aws:s3:::{bucket}\"}}"
    )
}

fn azure_assignment(place: &Url) -> String {
    format!(
        "run: az role assignment create --assignee {LAKE_IDENTITY} --role \"Storage Blob \
         Data Contributor\" --scope /subscriptions/<subscription>/resourceGroups/<group>/providers/Microsoft.Storage/\
         storageAccounts/{}/blobServices/default/containers/{} -- it takes effect within some minutes",
        azure_account(place),
        azure_container(place)
    )
}

fn azure_container(place: &Url) -> &str {
    if place.username().is_empty() { place.host_str().unwrap_or("<container>") } else { place.username() }
}

/// `container@account.dfs.core.windows.net` names the account; `az://container/…` does not.
fn azure_account(place: &Url) -> &str {
    match (place.username(), place.host_str().and_then(|host| host.split('.').next())) {
        ("", _) | (_, None) => "<account>",
        (_, Some(account)) => account,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(place: &str, said: &str) -> String {
        way_in(&Url::parse(place).unwrap(), said)
    }

    #[test]
    fn azure_gets_the_line_for_its_container() {
        let line = way("abfss://bronze@acme.dfs.core.windows.net/lake/web/tracks/", "AuthorizationPermissionMismatch");
        assert!(line.contains("--role \"Storage Blob Data Contributor\" --scope /subscriptions/"), "{line}");
        assert!(line.contains("/storageAccounts/acme/blobServices/default/containers/bronze "), "{line}");
        assert!(
            way("az://bronze/lake/", "403")
                .contains("/storageAccounts/<account>/blobServices/default/containers/bronze ")
        );
        let firewall = way("abfss://bronze@acme.dfs.core.windows.net/", "AuthorizationFailure");
        assert!(firewall.contains("`acme` (Networking"), "{firewall}");
    }

    #[test]
    fn s3_gets_the_statements_for_its_bucket_or_key() {
        let said = way("s3://bronze/lake/", "403 Forbidden: AccessDenied");
        let (_, statements) = said.split_once("bucket's: ").unwrap();
        let (objects, bucket) = statements.split_once("} and ").unwrap();
        let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let (objects, bucket) = (json(format!("{objects}}}")), json(bucket.to_owned()));
        assert_eq!(
            (&objects["Resource"], &bucket["Action"]),
            (&"arn:aws:s3:::bronze/*".into(), &"s3:ListBucket".into())
        );
        assert!(way("s3://bronze/lake/", "not authorized to perform: kms:GenerateDataKey").contains("kms:Decrypt"));
        assert_eq!(way("file:///lake/", "denied"), "grant this identity read, write and list on file:///lake/");
    }
}
