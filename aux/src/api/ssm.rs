//! AWS's own protocol: the four operations of SSM that read parameters, from the same entries as the
//! plain routes.

use cache::{Mode, Served};
use futures_util::future::join_all;
use service::{
    contract::{
        problem::Problem,
        ssm::{
            DescribeParameters, GetParameter, GetParameters, GetParametersByPath, Request,
            not_found, validation,
        },
    },
    server::{Deadline, SsmQuery},
};
use tokio::time::Instant;

use super::access::Access;
use crate::{
    batch::GroupMember,
    error::Error,
    name::ParameterName,
    parameter::{PathQuery, SecretForm},
    record::ssm::{description_page, has_omissions, parameter, parameters, path_page},
    store::{CachedStore, StoreQuery},
};

/// The operations. Cloning is shallow.
#[derive(Clone)]
pub(super) struct SsmApi {
    access: Access,
}

/// The conditions of one request.
#[derive(Clone, Copy)]
struct Conditions {
    mode: Mode,
    deadline: Deadline,
}

/// The places of one name among those of a request: in the reads of values, and in those of
/// ciphertexts, which follow them.
#[derive(Default)]
struct Members {
    value: Option<GroupMember>,
    ciphertext: Option<GroupMember>,
}

impl Members {
    /// Returns the places of this many names.
    fn of(names: usize) -> impl Iterator<Item = Self> {
        let groups = GroupMember::group(names).zip(GroupMember::group(names));
        groups.map(|(value, ciphertext)| Self { value: Some(value), ciphertext: Some(ciphertext) })
    }
}

impl SsmApi {
    pub(super) fn new(access: Access) -> Self {
        Self { access }
    }

    /// Looks up the response to a `GetParameter` without waiting and without a call. Other requests
    /// need a call of [`respond`](Self::respond).
    pub(super) fn lookup(
        &self,
        request: &Request,
        now: Instant,
    ) -> Option<Result<Served, Problem>> {
        let Request::GetParameter(GetParameter { name, with_decryption }) = request else {
            return None;
        };
        // An ARN needs more checks. For other names the cache has no entry outside the prefixes.
        let parsed = ParameterName::parse(name).ok().filter(|name| name.account().is_none())?;
        if parsed.is_secret_reference() && !with_decryption {
            return None;
        }
        let store = &self.access.store;
        // Each lookup is counted, so there is only one.
        let reads_ciphertext =
            !with_decryption && store.holds_parameter(&parsed, SecretForm::Ciphertext);
        let form = if reads_ciphertext { SecretForm::Ciphertext } else { SecretForm::Value };
        let found = store.lookup_parameter(&parsed, form, now)?;
        if form == SecretForm::Value && !with_decryption && needs_ciphertext(&found) {
            return None;
        }
        Some(found.map(parameter).map_err(|problem| not_found(problem, name)))
    }

    pub(super) async fn respond(
        &self,
        SsmQuery { request, mode, deadline }: SsmQuery,
    ) -> Result<Served, Problem> {
        let conditions = Conditions { mode, deadline };
        match request {
            Request::GetParameter(request) => self.get_parameter(request, conditions).await,
            Request::GetParameters(request) => self.get_parameters(request, conditions).await,
            Request::GetParametersByPath(request) => {
                self.get_parameters_by_path(request, conditions).await
            }
            Request::DescribeParameters(request) => {
                self.describe_parameters(request, conditions).await
            }
        }
    }

    async fn get_parameter(
        &self,
        GetParameter { name, with_decryption }: GetParameter,
        conditions: Conditions,
    ) -> Result<Served, Problem> {
        let parsed = self.parse(&name, with_decryption, conditions).await?;
        let found = self.read(parsed, Members::default(), with_decryption, conditions).await;
        found.map(parameter).map_err(|problem| not_found(problem, &name))
    }

    /// Reads each name from its own entry. The misses share a call; see [`batch`](crate::batch).
    async fn get_parameters(
        &self,
        GetParameters { names, with_decryption }: GetParameters,
        conditions: Conditions,
    ) -> Result<Served, Problem> {
        // One name that may not be read denies the call, before any call of AWS.
        let mut parsed = Vec::with_capacity(names.len());
        for name in &names {
            parsed.push(self.parse(name, with_decryption, conditions).await?);
        }
        let reads = parsed
            .into_iter()
            .zip(Members::of(names.len()))
            .map(|(name, members)| self.read(name, members, with_decryption, conditions));
        let (mut found, mut invalid, mut expires_in) = (Vec::new(), Vec::new(), None);
        for (name, result) in names.iter().zip(join_all(reads).await) {
            match result {
                Ok(served) => found.push((name, served)),
                Err(problem) if problem.code == NOT_FOUND => {
                    invalid.push(name.as_str());
                    let remaining = problem.max_age.unwrap_or_default();
                    expires_in = Some(expires_in.unwrap_or(remaining).min(remaining));
                }
                Err(problem) => return Err(problem),
            }
        }
        // SSM lists the results by name (`Names` of `GetParameters` in its API reference).
        found.sort_by_key(|(name, _)| *name);
        let found: Vec<_> = found.into_iter().map(|(_, served)| served).collect();
        let body = parameters(&found, &invalid);
        Ok(CachedStore::combine(&found, expires_in, body))
    }

    async fn get_parameters_by_path(
        &self,
        request: GetParametersByPath,
        conditions: Conditions,
    ) -> Result<Served, Problem> {
        let path = self.access.path(&request.path)?;
        let recursive = request.recursive;
        let query = |form| PathQuery { path: path.clone(), recursive, form };
        let read = async |form| {
            let Conditions { mode, deadline } = conditions;
            self.access.store.get(StoreQuery::Values(query(form)), mode, deadline).await
        };
        let served = read(SecretForm::Value).await?;
        let wants_secrets =
            request.parameter_filters.iter().all(|filter| filter.matches("", "SecureString"));
        let omits = wants_secrets && has_omissions(&served);
        let served = match request.with_decryption {
            // A response without the SecureStrings would make clients delete them.
            true if omits => return Err(Error::SecureStringNotAllowed.into()),
            true => served,
            false if omits || served.body().is_confidential() => {
                read(SecretForm::Ciphertext).await?
            }
            false => served,
        };
        Ok(path_page(served, &request)?)
    }

    async fn describe_parameters(
        &self,
        request: DescribeParameters,
        Conditions { mode, deadline }: Conditions,
    ) -> Result<Served, Problem> {
        let served = self.access.store.get(StoreQuery::Parameters, mode, deadline).await?;
        Ok(description_page(served, &request)?)
    }

    /// Parses a name and checks that it may be read in this form.
    async fn parse(
        &self,
        name: &str,
        with_decryption: bool,
        Conditions { mode, deadline }: Conditions,
    ) -> Result<ParameterName, Problem> {
        let parsed = self.access.parameter(name, mode, deadline).await?;
        if parsed.is_secret_reference() && !with_decryption {
            return Err(validation(
                "WithDecryption flag must be True for retrieving a Secret Manager secret.",
            )
            .into());
        }
        Ok(parsed)
    }

    /// Reads a parameter from the entry of the plain routes, and a SecureString that is not to be
    /// decrypted from an entry of its own.
    async fn read(
        &self,
        name: ParameterName,
        Members { value, ciphertext }: Members,
        with_decryption: bool,
        Conditions { mode, deadline }: Conditions,
    ) -> Result<Served, Problem> {
        let store = &self.access.store;
        let read = |form, member| {
            let query = StoreQuery::Parameter(name.clone(), form);
            store.get_in_group(query, mode, deadline, member)
        };
        // A ciphertext that was read before must not depend on another call.
        if !with_decryption && store.holds_parameter(&name, SecretForm::Ciphertext) {
            drop(value);
            return read(SecretForm::Ciphertext, ciphertext).await;
        }
        let found = read(SecretForm::Value, value).await;
        if !with_decryption && needs_ciphertext(&found) {
            return read(SecretForm::Ciphertext, ciphertext).await;
        }
        found
    }
}

/// The codes of the problems that this module acts on.
const NOT_FOUND: &str = "parameter-not-found";
const SECURE_STRING: &str = "secure-string-not-allowed";
const DENIED: &str = "aws-access-denied";

/// Whether a parameter is, or may be, a SecureString, which a request without decryption reads as
/// ciphertext. AWS may deny the decryption alone.
fn needs_ciphertext(found: &Result<Served, Problem>) -> bool {
    match found {
        Ok(served) => served.body().is_confidential(),
        Err(problem) => problem.code == SECURE_STRING || problem.code == DENIED,
    }
}

#[cfg(test)]
mod tests;
