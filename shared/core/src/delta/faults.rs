//! What went wrong between us and a store or the Delta kernel, as a fault that says who can mend it.
//!
//! Addresses are named, credentials never are: neither the lake's URL nor the store's own errors hold any.

use delta_kernel::KernelError;
use object_store::Error as StoreError;
use url::Url;

use super::access::way_in;
use crate::fault::Fault;

/// A failed request to a store. `what` says what was tried, as in "cannot list tables".
pub(crate) fn store_fault(what: &str, place: &Url, error: StoreError) -> Fault {
    if let Some(ours) = fault_within(&error) {
        // Credentials could not be had: their own fault knows why.
        return ours.within(format!("{what} at {place}"));
    }
    let hint = match reason(&error) {
        Reason::Missing => format!("check that {place} exists and is spelled right"),
        Reason::Denied => way_in(place, &error.to_string()),
        Reason::Unknown => {
            format!("the store did not accept the credentials for {place}; check the environment or the role")
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
    Unfit,
    Passing,
}

fn reason(error: &StoreError) -> Reason {
    match error {
        StoreError::NotFound { .. } => Reason::Missing,
        StoreError::PermissionDenied { .. } => Reason::Denied,
        StoreError::Unauthenticated { .. } => Reason::Unknown,
        StoreError::InvalidPath { .. } | StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => {
            Reason::Unfit
        }
        // Errors of listings, and of looking for credentials, come without a kind: only their text tells.
        error => {
            let text = error.to_string();
            let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
            if says(&["NoSuchBucket", "ContainerNotFound", "FilesystemNotFound", "404 Not Found"]) {
                Reason::Missing
            } else if says(&["403 Forbidden", "AccessDenied", "AuthorizationPermissionMismatch"]) {
                Reason::Denied
            } else if says(&["401 Unauthorized", "InvalidAccessKeyId", "169.254.169.254"]) {
                Reason::Unknown
            } else {
                Reason::Passing
            }
        }
    }
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
