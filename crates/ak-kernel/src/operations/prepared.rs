//! Computes in advance what follows from a request alone.

use alloc::sync::Arc;

use ak_json::{Text, Value};
use ak_policy::{Policy, PolicyError};

use crate::{
    api::{
        policy_files::PolicyFiles,
        prepared::{LONG_BYTES, Prepared, Work, digested},
        presented::AuthenticatedRequest,
        price::Price,
        reply::Failure,
        request::{Request, ToolsRequest},
    },
    operations::http::body_value,
    tools::registry,
};

impl Prepared {
    pub(crate) fn of(request: &Request) -> Prepared {
        let checked = request.check_form();
        if checked.is_err() {
            return Prepared { checked: Some(checked), ..Prepared::default() };
        }
        let args = (request.size() >= LONG_BYTES).then(|| digested(request.args()));
        let mut prepared = Prepared { args, checked: Some(checked), ..Prepared::default() };
        request.prepare(&mut prepared);
        prepared
    }

    /// Checks that the request from which `self` was made is short enough to be admitted.
    pub(crate) fn check_form(&self, request: &Request) -> Result<(), Failure> {
        self.checked.clone().unwrap_or_else(|| request.check_form())
    }

    /// A body in the form that rules see. It was computed in advance if it is the body of the prepared request.
    pub(crate) fn http_body(&self, body: &Arc<[u8]>) -> Value {
        let known = self.http_body.as_ref().filter(|(known, _)| Arc::ptr_eq(known, body));
        known.map_or_else(|| body_value(body), |(_, value)| value.clone())
    }

    /// The arguments in the journal's form. `request` is the one from which `self` was made.
    pub(crate) fn args(&self, request: &Request) -> Value {
        self.args.clone().unwrap_or_else(|| request.args())
    }

    /// The parsed policy of a request to load one.
    pub(crate) fn policy(
        &self,
        text: &str,
        base_dir: Option<&str>,
        files: &PolicyFiles,
    ) -> Result<Policy, PolicyError> {
        match self.work.as_deref() {
            Some(Work::Policy(policy)) => policy.clone(),
            Some(Work::Tool(_)) | None => files.parse(text, base_dir),
        }
    }
}

impl AuthenticatedRequest {
    /// Sets the price of the model that the request names, if it is a request to a model. `price` receives the
    /// model's name.
    #[must_use]
    pub fn priced(mut self, price: impl FnOnce(&str) -> Option<Price>) -> AuthenticatedRequest {
        if let Request::Infer(request) = &mut self.request {
            request.set_price(price);
        }
        AuthenticatedRequest { prepared: Prepared::default(), ..self }
    }

    /// Sets a tool's environment, if the request registers a tool: those of the variables that the manifest lists.
    #[must_use]
    pub fn with_env(mut self, variables: &[(Text, Text)]) -> AuthenticatedRequest {
        if let Request::Tools(ToolsRequest::Register { manifest, env, .. }) = &mut self.request {
            // A manifest that is not accepted lists no variables.
            let listed = registry::manifest(manifest).map(|manifest| manifest.env).unwrap_or_default();
            let variables = variables.iter().filter(|(name, _)| listed.iter().any(|own| **own == **name));
            *env = variables.cloned().collect();
        }
        AuthenticatedRequest { prepared: Prepared::default(), ..self }
    }

    /// Computes in advance what follows from the request alone, so that the kernel does less under its lock.
    #[must_use]
    pub fn prepared(self) -> AuthenticatedRequest {
        AuthenticatedRequest { prepared: Prepared::of(&self.request), ..self }
    }

    /// Whether the request is short enough to be admitted. A host may check this before it takes the kernel's lock,
    /// and report a rejected request with [`Kernel::throttle`](crate::Kernel::throttle) only.
    ///
    /// # Errors
    /// LIMIT; the message names the limit that is exceeded.
    pub fn check_form(&self) -> Result<(), Failure> {
        self.prepared.check_form(&self.request)
    }
}
