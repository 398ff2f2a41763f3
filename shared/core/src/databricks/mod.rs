//! A Databricks workspace: one address, one way to sign in, one client.
//!
//! [`Workspace`] is all that others call: who we are (`identity`), Unity Catalog (`unity`, `tables`, `vended`), volumes
//! (`files`), warehouses (`warehouse`) and statements (`statement`). Each call takes a deadline and gives an [`Error`] that callers
//! can ask what it means; as a [`Fault`] it says what to do (`advice`). Below are the token (`sign_in`, `entra`,
//! `token`), the dialects of answers (`answer`) and the one module that opens connections (`http`). A lake without a
//! workspace has its Azure token from [`StorageIdentity`].

mod advice;
mod answer;
mod connection;
mod entra;
mod error;
mod files;
mod http;
mod identity;
mod sign_in;
mod statement;
mod storage;
mod tables;
#[cfg(test)]
mod testing;
mod token;
mod unity;
mod vended;
mod warehouse;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::clock::Deadline;
use crate::fault::Fault;

pub(crate) use connection::HOST_SUFFIXES;
pub use connection::{Auth, Cloud, Connection};
pub use entra::IdentityEndpoint;
pub use error::{Denied, Error};
pub use files::{Content, Entry};
pub use identity::{ExternalLocation, Me, Securable};
pub use statement::Answer;
pub use storage::StorageIdentity;
pub use tables::{ColumnInfo, TableInfo, TableKind};
pub use token::Token;
pub use unity::{CatalogInfo, CatalogKind, Metastore, SchemaInfo};
pub use vended::{Credential, Vended};
pub use warehouse::{Health, State, Wake, Warehouse, WarehouseSpec};

use answer::Said;
use connection::trusted;
use error::{Failure, Subject, Whom};
use http::{Http, Reply, Request};
use sign_in::Session;

/// A workspace. Clones share the token and the connections.
#[derive(Clone)]
pub struct Workspace {
    inner: Arc<Inner>,
}

struct Inner {
    url: Url,
    http: Arc<Http>,
    session: Session,
    whom: Arc<Whom>,
    pace: Pace,
}

/// How often we look whether something is done.
#[derive(Clone, Copy, Debug)]
struct Pace {
    first: Duration,
    most: Duration,
    /// For so long a warehouse may still say that it is stopped after it was started.
    grace: Duration,
    /// The first wait before a request is sent again.
    back_off: Duration,
}

impl Pace {
    const USUAL: Self = Self {
        first: Duration::from_millis(500),
        most: Duration::from_secs(10),
        grace: Duration::from_secs(10),
        back_off: http::BACK_OFF,
    };

    /// The time between two looks: each half as long again as the one before.
    fn poll(self, looks: u32) -> Duration {
        self.first.mul_f64(1.5_f64.powi(i32::try_from(looks.min(20)).unwrap_or(20))).min(self.most)
    }
}

impl Workspace {
    /// A workspace to be called; nothing is connected to yet.
    ///
    /// # Errors
    /// A Setup fault: the URL is none that secrets may be sent to.
    pub fn new(connection: Connection) -> Result<Self, Fault> {
        Self::with_identity_endpoint(connection, IdentityEndpoint::default())
    }

    /// The same, with the place where tokens of a managed identity come from.
    ///
    /// # Errors
    /// A Setup fault: the URL is none that secrets may be sent to.
    pub fn with_identity_endpoint(connection: Connection, endpoint: IdentityEndpoint) -> Result<Self, Fault> {
        Self::at_pace(connection, endpoint, Pace::USUAL)
    }

    fn at_pace(mut connection: Connection, endpoint: IdentityEndpoint, pace: Pace) -> Result<Self, Fault> {
        trusted(&mut connection.url, "the workspace URL")?;
        if let Some(authority) = &mut connection.entra_authority {
            trusted(authority, "the URL of Entra's sign-in host")?;
        }
        let (url, whom, http) =
            (connection.url.clone(), Arc::new(sign_in::whom(&connection)), Arc::new(Http::new(pace.back_off)));
        let session = Session::new(connection, endpoint, Arc::clone(&http), Arc::clone(&whom));
        Ok(Self { inner: Arc::new(Inner { url, http, session, whom, pace }) })
    }

    /// Whether somebody answers as a workspace at the address; nobody signs in.
    ///
    /// # Errors
    /// There is no such host, it is none of Databricks', or it does not admit us.
    pub async fn reach(&self, deadline: Deadline) -> Result<(), Error> {
        self.inner.session.reach(deadline).await
    }

    /// Has a token for the workspace; a personal access token is taken as it is.
    ///
    /// # Errors
    /// Databricks or Entra cannot be reached, or refuses.
    pub async fn sign_in(&self, deadline: Deadline) -> Result<(), Error> {
        self.inner.session.token(deadline).await.map(drop)
    }

    /// The workspace's number, where it was given or found.
    pub fn id(&self) -> Option<&str> {
        self.inner.session.workspace_id()
    }

    /// `https://host`, with a port that is not the usual one.
    pub fn host(&self) -> &str {
        &self.inner.whom.host
    }

    /// The statement that gives us a privilege.
    pub fn grant(&self, privilege: &Denied) -> String {
        privilege.grant(&self.inner.whom)
    }

    /// A token of the same identity for Azure storage: the lake's, when one principal is used for both.
    ///
    /// # Errors
    /// Entra cannot be reached or refuses, or the identity is none of Entra's.
    pub async fn storage_token(&self, deadline: Deadline) -> Result<Token, Error> {
        self.inner.session.storage_token(deadline).await
    }

    async fn get<T: DeserializeOwned>(
        &self,
        base: &str,
        segments: &[&str],
        query: &[(&str, &str)],
        about: &Subject,
        deadline: Deadline,
    ) -> Result<T, Error> {
        let mut url = self.address(base, segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let (request, reply) = self.send(|| self.request(Method::GET, &url, about), deadline).await?;
        answer::read(&request, &reply)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        base: &str,
        segments: &[&str],
        body: &Value,
        about: &Subject,
        deadline: Deadline,
    ) -> Result<T, Error> {
        let url = self.address(base, segments);
        let (request, reply) = self.send(|| self.request(Method::POST, &url, about).json(body), deadline).await?;
        answer::read(&request, &reply)
    }

    /// Deletes; what is not there is deleted.
    async fn delete(&self, base: &str, segments: &[&str], about: &Subject, deadline: Deadline) -> Result<(), Error> {
        let url = self.address(base, segments);
        let (request, reply) = self.send(|| self.request(Method::DELETE, &url, about), deadline).await?;
        match answer::accepted(&request, &reply) {
            Err(error) if error.is_missing() => Ok(()),
            outcome => outcome,
        }
    }

    /// All pages of a list: `items` takes what one page holds.
    async fn pages<T: DeserializeOwned + Page>(
        &self,
        base: &str,
        segments: &[&str],
        query: &[(&str, &str)],
        about: &Subject,
        deadline: Deadline,
    ) -> Result<Vec<T::Item>, Error> {
        const PAGES_MAX: usize = 10_000;
        let (mut items, mut token) = (Vec::new(), String::new());
        for _ in 0..PAGES_MAX {
            let mut query = query.to_vec();
            if !token.is_empty() {
                query.push(("page_token", &token));
            }
            let page: T = self.get(base, segments, &query, about, deadline).await?;
            let (more, next) = page.take();
            items.extend(more);
            // An empty page in the middle is no end.
            match next.filter(|next| !next.is_empty()) {
                None => return Ok(items),
                Some(next) if next == token => break,
                Some(next) => token = next,
            }
        }
        Err(self.failed(Failure::Unreadable, about, Said::of("the list's pages do not end")))
    }

    /// Sends a request with the token; a token that is refused is asked for anew, once.
    async fn send(&self, request: impl Fn() -> Request, deadline: Deadline) -> Result<(Request, Reply), Error> {
        let Inner { session, http, .. } = &*self.inner;
        let mut renewed = false;
        loop {
            let token = session.token(deadline).await?;
            let mut request = request().bearer(&token)?;
            if let Some(id) = session.workspace_id() {
                request = request.header("x-databricks-workspace-id", id)?;
            }
            let reply = http.send(&request, deadline).await?;
            if renewed || !reply.refuses_token() || !session.forget(&token, deadline).await {
                return Ok((request, reply));
            }
            renewed = true;
        }
    }

    fn request(&self, method: Method, url: &Url, about: &Subject) -> Request {
        let request = Request::new(method, url.clone(), about.clone(), &self.inner.whom);
        // It is not sent here, but what lies in between may remember it.
        match self.inner.session.client_secret() {
            Some(secret) => request.secret(&secret),
            None => request,
        }
    }

    fn address(&self, base: &str, segments: &[&str]) -> Url {
        let mut url = self.inner.url.clone();
        url.set_path(base);
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        url
    }

    /// The error of what was answered, and is no success all the same.
    fn failed(&self, failure: Failure, about: &Subject, said: Said) -> Error {
        Error::of(failure, about.clone(), &self.inner.whom, said)
    }

    fn pace(&self) -> Pace {
        self.inner.pace
    }
}

/// One page of a list.
trait Page {
    type Item;

    /// What it holds, and the token of the next one.
    fn take(self) -> (Vec<Self::Item>, Option<String>);
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workspace({})", self.inner.whom.host)
    }
}
