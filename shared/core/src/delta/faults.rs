//! What went wrong between us and a store or the Delta kernel, as a fault that says who can mend it.
//!
//! Addresses are named, credentials never are: neither the lake's URL nor the store's own errors hold any.

use delta_kernel::KernelError;
use object_store::Error as StoreError;
use url::Url;

use super::access::{right_region, way_in, way_to_make, way_to_sign_in};
use crate::fault::Fault;

/// A failed request to a store. `what` says what was tried, as in "cannot list tables".
pub(crate) fn store_fault(what: &str, place: &Url, error: StoreError) -> Fault {
    if let Some(ours) = fault_within(&error) {
        // Credentials could not be had: their own fault knows why.
        return ours.within(format!("{what} at {place}"));
    }
    let said = whole_text(&error);
    let hint = match reason(&error) {
        Reason::Missing => way_to_make(place, &said),
        Reason::Denied => way_in(place, &said),
        Reason::Unknown => way_to_sign_in(place, &said),
        Reason::OtherRegion => right_region(&said),
        Reason::NoHost => {
            let fault = Fault::again(format!("{what} at {place}: no host of that name answers"));
            return fault.hint("check the account or bucket in the lake's address; else run it again").because(error);
        }
        Reason::Unfit => format!("{place} cannot hold a lake; use file://, s3:// or abfss://"),
        Reason::Passing => return Fault::again(format!("{what} at {place}")).because(error),
    };
    Fault::setup(format!("{what} at {place}")).hint(hint).because(error)
}

/// The fault that stands in a store's error, if one of ours does.
pub(crate) fn fault_within(error: &StoreError) -> Option<&Fault> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Some(fault);
        }
        cause = error.source();
    }
    None
}

/// Whether a store refuses us a right.
pub(crate) fn is_denied(error: &StoreError) -> bool {
    matches!(reason(error), Reason::Denied)
}

/// Who can mend a store's error.
enum Reason {
    Missing,
    Denied,
    Unknown,
    OtherRegion,
    NoHost,
    Unfit,
    Passing,
}

/// Codes of S3 and Azure for credentials that they do not know, whatever the status.
const UNKNOWN: [&str; 6] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "InvalidAuthenticationInfo",
    "401 Unauthorized",
];
/// What S3, and its client, say of a bucket that lies in another region than the one asked.
const OTHER_REGION: [&str; 3] = ["AuthorizationHeaderMalformed", "PermanentRedirect", "incorrectly configured region"];

fn reason(error: &StoreError) -> Reason {
    let whole = whole_text(error);
    let in_whole = |words: &[&str]| words.iter().any(|word| whole.contains(word));
    match error {
        _ if in_whole(&UNKNOWN) => Reason::Unknown,
        _ if in_whole(&OTHER_REGION) => Reason::OtherRegion,
        _ if in_whole(&["dns error", "failed to lookup address"]) => Reason::NoHost,
        StoreError::NotFound { .. } => Reason::Missing,
        StoreError::PermissionDenied { .. } => Reason::Denied,
        StoreError::Unauthenticated { .. } => Reason::Unknown,
        StoreError::InvalidPath { .. } | StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => {
            Reason::Unfit
        }
        // Errors of listings, and of looking for credentials, come without a kind: only their text tells.
        _ => {
            if in_whole(&["NoSuchBucket", "ContainerNotFound", "FilesystemNotFound", "404 Not Found"]) {
                Reason::Missing
            } else if in_whole(&["403 Forbidden", "AccessDenied", "AuthorizationPermissionMismatch"]) {
                Reason::Denied
            } else if in_whole(&["169.254.169.254"]) {
                Reason::Unknown
            } else {
                Reason::Passing
            }
        }
    }
}

/// An error's words, and those of its causes: not every one repeats what lies below it.
fn whole_text(error: &StoreError) -> String {
    let first: &(dyn std::error::Error + 'static) = error;
    let all = std::iter::successors(Some(first), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A failed kernel operation. `what` says what was tried.
pub(super) fn kernel_fault(what: &str, place: &Url, error: KernelError) -> Fault {
    match without_backtrace(error) {
        KernelError::ObjectStore(error) => store_fault(what, place, error),
        error @ KernelError::FileNotFound(_) => Fault::setup(format!("{what} at {place}"))
            .hint(format!("check that {place} exists, is spelled right and that nobody removes its files"))
            .because(error),
        error @ (KernelError::Unsupported(_) | KernelError::InvalidProtocol(_) | KernelError::MaxCatalogVersion(_)) => {
            Fault::setup(format!("{what} at {place}: {error}"))
                .hint("this table needs features that Inlet cannot use; land into another schema or table")
        }
        error @ (KernelError::StatsValidation(_)
        | KernelError::Schema(_)
        | KernelError::InvalidTransactionState(_)
        | KernelError::InternalError(_)
        | KernelError::EngineDataType(_)
        | KernelError::MissingColumn(_)
        | KernelError::UnexpectedColumnType(_)) => Fault::bug(format!("{what} at {place}")).because(error),
        error => Fault::again(format!("{what} at {place}")).because(error),
    }
}

/// The error itself: the kernel wraps some in backtraces, which would fill the message.
pub(super) fn without_backtrace(mut error: KernelError) -> KernelError {
    while let KernelError::Backtraced { source, .. } = error {
        error = *source;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultKind;

    #[test]
    fn a_store_error_says_who_can_mend_it() {
        let place = Url::parse("s3://bucket/lake/").unwrap();
        let generic = |text: &str| StoreError::Generic { store: "S3", source: text.into() };
        let kind = |error| store_fault("cannot list", &place, error).kind();
        assert_eq!(kind(generic("status code: 404 Not Found: <Code>NoSuchBucket</Code>")), FaultKind::Setup);
        assert_eq!(kind(generic("status code: 403 Forbidden")), FaultKind::Setup);
        assert_eq!(kind(generic("Error performing PUT http://169.254.169.254/latest/api/token")), FaultKind::Setup);
        assert_eq!(kind(generic("status code: 503 Slow Down")), FaultKind::Again);
        let denied = KernelError::ObjectStore(StoreError::PermissionDenied { path: "a".into(), source: "403".into() });
        let fault = kernel_fault("cannot commit", &place, denied);
        assert_eq!(
            (fault.kind(), fault.to_string().as_str()),
            (FaultKind::Setup, "cannot commit at s3://bucket/lake/")
        );
        assert!(fault.hint_text().unwrap().contains("arn:aws:s3:::bucket/*"));
        assert_eq!(kernel_fault("x", &place, KernelError::StatsValidation("n".into())).kind(), FaultKind::Bug);
    }
}
