//! The names and paths that a request may read.

use std::sync::Arc;

use cache::Mode;
use service::{contract::problem::Problem, server::Deadline};

use crate::{
    error::Error,
    name::{ParameterName, ParameterPath, Prefixes},
    parameter::SecretForm,
    store::{CachedStore, StoreQuery},
};

/// The rules for names and paths of this service. Cloning is shallow.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) store: CachedStore,
    pub(super) prefixes: Arc<Prefixes>,
}

impl Access {
    /// Parses a name, and returns the one to read if it may be shown.
    pub(super) async fn parameter(
        &self,
        text: &str,
        mode: Mode,
        deadline: Deadline,
    ) -> Result<ParameterName, Problem> {
        let name = ParameterName::parse(text).map_err(Error::InvalidParameterName)?;
        self.allowed(name, mode, deadline).await
    }

    /// Returns the name to read, if it may be shown. An ARN of this account becomes its plain name,
    /// so that one parameter has one cache entry. An ARN that only an ARN among the prefixes allows
    /// keeps its own entry, because its plain name may not be shown.
    async fn allowed(
        &self,
        name: ParameterName,
        mode: Mode,
        deadline: Deadline,
    ) -> Result<ParameterName, Problem> {
        let Some(account) = name.account() else { return Ok(self.allowed_here(name)?) };
        self.store.check_region(&name)?;
        if self.prefixes.allow_arn(&name) {
            return Ok(name);
        }
        if account.is_empty() {
            return Ok(self.allowed_here(name.within_account())?);
        }
        let may_be_own = self.prefixes.allow(name.bare());
        if self.store.own_account().is_none() && may_be_own && !self.prefixes.allow_everything() {
            // No response has shown the account of this service yet. A parameter of the same name
            // in this account shows it. An error that may pass is the error of this request: an
            // unknown account is no reason for a final refusal. If this account has no such
            // parameter, that says nothing about the account of the ARN, and a client must not take
            // it for a missing parameter.
            let plain = ParameterName::parse(name.bare()).map_err(Error::InvalidParameterName)?;
            let plain = StoreQuery::Parameter(plain, SecretForm::Value);
            let result = self.store.get(plain, mode, deadline).await;
            if self.store.own_account().is_none() {
                result.map_err(|problem| match problem.status {
                    404 => Error::ParameterNotAllowed.problem(),
                    _ => problem,
                })?;
            }
        }
        match self.store.own_account() {
            Some(own) if own == account => Ok(self.allowed_here(name.within_account())?),
            _ if self.prefixes.allow_everything() => Ok(name),
            _ => Err(Error::ParameterNotAllowed.into()),
        }
    }

    fn allowed_here(&self, name: ParameterName) -> Result<ParameterName, Error> {
        if self.prefixes.allow(name.bare()) { Ok(name) } else { Err(Error::ParameterNotAllowed) }
    }

    /// Parses a path, and checks that something below it may be shown.
    pub(super) fn path(&self, text: &str) -> Result<ParameterPath, Error> {
        let path = ParameterPath::parse(text).map_err(Error::InvalidParameterName)?;
        if self.prefixes.allow_some_below(&path) {
            Ok(path)
        } else {
            Err(Error::ParameterNotAllowed)
        }
    }
}
