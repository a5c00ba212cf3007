//! The parameters below a path, with those that cannot be decrypted.

use aws_sdk_ssm::{error::SdkError, operation::get_parameters_by_path::GetParametersByPathError};
use cache::Priority;

use super::{
    client::{AwsClient, convert},
    errors::empty_response,
    operation::Operation,
};
use crate::{
    batch::MAX_BATCH,
    error::Error,
    parameter::{Parameter, PathQuery, PathValues, SecretForm},
    progress::ListProgress,
};

/// The size of a page: the maximum that the operation allows.
const VALUES_PER_PAGE: i32 = 10;

/// The tries of one call for SecureStrings by their names.
const MAX_TRIES: u32 = 5;

impl AwsClient {
    /// Reads the parameters below a path.
    ///
    /// AWS refuses a whole page if one of its SecureStrings cannot be decrypted. The path is then
    /// read without decryption, and its SecureStrings are read by their names.
    pub(super) async fn get_parameters_by_path(
        &self,
        query: &PathQuery,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<PathValues, Error> {
        let operation = Operation::GetParametersByPath;
        let decrypt = self.decrypts(query.form);
        self.policy.admit(operation, priority).await?;
        match self.read_path(query, decrypt, priority, progress).await {
            Err(Error::AwsAccessDenied(_) | Error::AwsRefused(_)) if decrypt => {
                progress.restart();
                self.policy.wait_for_admission(operation, priority).await?;
                let parameters = self.read_path(query, false, priority, progress).await?;
                self.decrypt_by_name(parameters, priority).await
            }
            parameters => parameters.map(PathValues::readable),
        }
    }

    async fn read_path(
        &self,
        query: &PathQuery,
        decrypt: bool,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<Vec<Parameter>, Error> {
        let operation = Operation::GetParametersByPath;
        let page = |token| async move {
            let request = self
                .ssm
                .get_parameters_by_path()
                .path(query.path.as_str())
                .recursive(query.recursive)
                .with_decryption(decrypt)
                .max_results(VALUES_PER_PAGE);
            let page = request.set_next_token(token).send().await?;
            let parameters = page.parameters.into_iter().flatten().map(convert);
            Ok::<_, SdkError<GetParametersByPathError>>((parameters.collect(), page.next_token))
        };
        let parameters = self.policy.list(operation, priority, progress, page).await?;
        let parameters: Option<_> = parameters.into_iter().collect();
        parameters.ok_or_else(|| empty_response(operation))
    }

    /// Replaces the ciphertext of each SecureString by its value.
    async fn decrypt_by_name(
        &self,
        parameters: Vec<Parameter>,
        priority: Priority,
    ) -> Result<PathValues, Error> {
        let (secure, readable): (Vec<_>, Vec<_>) = parameters.into_iter().partition(|p| p.secure);
        let mut values = PathValues::readable(readable);
        let names: Vec<_> = secure.into_iter().map(|parameter| parameter.name).collect();
        for names in names.chunks(MAX_BATCH) {
            match self.within_quota(priority, || self.read_many(names, SecretForm::Value)).await {
                Ok(results) => {
                    for (name, result) in names.iter().zip(results) {
                        values.add(name, result)?;
                    }
                }
                Err(Error::AwsAccessDenied(_) | Error::AwsRefused(_)) => {
                    for name in names {
                        let read = || self.read_one(name, SecretForm::Value);
                        let result = self.within_quota(priority, read).await;
                        values.add(name, result)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(values)
    }

    /// Makes a call when the quota has room for it, and again after a passing error, so that one
    /// throttled call does not discard the others. The limiter pauses after throttling.
    async fn within_quota<T, F>(&self, priority: Priority, call: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut tries = 1;
        loop {
            self.policy.wait_for_admission(Operation::GetParameters, priority).await?;
            match call().await {
                Err(error) if error.is_passing() && tries < MAX_TRIES => tries += 1,
                result => return result,
            }
        }
    }
}
