//! What is worked out of a request before it reaches the kernel.

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

    /// Whether the request that this was made from can be admitted: see [`Request::check_form`].
    pub(crate) fn check_form(&self, request: &Request) -> Result<(), Failure> {
        self.checked.clone().unwrap_or_else(|| request.check_form())
    }

    /// A body as rules see it: worked out beforehand where it is the one of the request that this was made from.
    pub(crate) fn http_body(&self, body: &Arc<[u8]>) -> Value {
        let known = self.http_body.as_ref().filter(|(known, _)| Arc::ptr_eq(known, body));
        known.map_or_else(|| body_value(body), |(_, value)| value.clone())
    }

    /// The journal's form of the arguments of `request`, which it was made from.
    pub(crate) fn args(&self, request: &Request) -> Value {
        self.args.clone().unwrap_or_else(|| request.args())
    }

    /// The policy of a request to load one.
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
    /// The same with what the tokens of the model cost that it asks, if it asks one: `price` is given the model's name.
    #[must_use]
    pub fn priced(mut self, price: impl FnOnce(&str) -> Option<Price>) -> AuthenticatedRequest {
        if let Request::Infer(request) = &mut self.request {
            request.set_price(price);
        }
        AuthenticatedRequest { prepared: Prepared::default(), ..self }
    }

    /// The same with the environment for a tool, where it registers one: those of the variables that the manifest lists.
    #[must_use]
    pub fn with_env(mut self, variables: &[(Text, Text)]) -> AuthenticatedRequest {
        if let Request::Tools(ToolsRequest::Register { manifest, env, .. }) = &mut self.request {
            // A manifest that is refused lists nothing.
            let listed = registry::manifest(manifest).map(|manifest| manifest.env).unwrap_or_default();
            let variables = variables.iter().filter(|(name, _)| listed.iter().any(|own| **own == **name));
            *env = variables.cloned().collect();
        }
        AuthenticatedRequest { prepared: Prepared::default(), ..self }
    }

    /// The same with what can be worked out of it beforehand: the kernel, which others wait for, then has less to do.
    #[must_use]
    pub fn prepared(self) -> AuthenticatedRequest {
        AuthenticatedRequest { prepared: Prepared::of(&self.request), ..self }
    }

    /// Whether it is short enough to be heard. A host that asks need not bring one to the kernel that is not, and says so with
    /// [`Kernel::throttle`](crate::Kernel::throttle) only.
    ///
    /// # Errors
    /// LIMIT, which says what of it is too long.
    pub fn check_form(&self) -> Result<(), Failure> {
        self.prepared.check_form(&self.request)
    }
}
