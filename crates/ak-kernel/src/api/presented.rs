//! Requests that come with a capability.

use ak_json::{Value, object};
use ak_policy::capability::{Authority, CAVEATS_MAX, CapId, Caveat, VerifiedToken};

use crate::api::{
    capability_spec::{capability_field, capability_text},
    code::Code,
    fields::{FieldError, Fields, base64url},
    prepared::Prepared,
    reply::Failure,
    request::Request,
};

/// A capability that a session presents with a request. The host has verified its token: the kernel holds no key.
#[derive(Clone, Debug, PartialEq)]
pub struct PresentedCapability {
    pub(crate) capability: CapId,
    pub(crate) authority: Authority,
}

impl PresentedCapability {
    /// Takes the capability from a verified token.
    ///
    /// # Errors
    /// CAP_INVALID if the token's own blocks contain a rate, uses or a budget, which the kernel could not count, or
    /// more caveats than one capability may add.
    pub fn new(token: VerifiedToken) -> Result<PresentedCapability, Failure> {
        let VerifiedToken { capability, authority } = token;
        let counts = |caveat: &Caveat| match caveat {
            Caveat::Rate(_) | Caveat::Uses(_) | Caveat::Budget(..) => true,
            Caveat::Operations(_)
            | Caveat::Targets(_)
            | Caveat::Agent(_)
            | Caveat::NotBefore(_)
            | Caveat::ExpiresAt(_)
            | Caveat::Run(_) => false,
        };
        if authority.caveats().any(counts) {
            let message = "a token cannot add rates, uses or budgets: attenuate the capability instead";
            return Err(Failure::new(Code::CapInvalid, message).presented());
        }
        if authority.caveats().len() > CAVEATS_MAX {
            return Err(Failure::new(Code::CapInvalid, "the token has too many caveats").presented());
        }
        Ok(PresentedCapability { capability, authority })
    }
}

impl PresentedCapability {
    /// The id of the capability in the kernel's table.
    pub const fn capability(&self) -> CapId {
        self.capability
    }
}

/// The form in the journal.
impl PresentedCapability {
    pub(crate) fn to_value(&self) -> Value {
        object! { "capability": capability_text(self.capability), "caveats": base64url(&self.authority.to_bytes()) }
    }

    pub(crate) fn from_value(value: &Value) -> Result<PresentedCapability, FieldError> {
        let mut fields = Fields::new("cap", value)?;
        let capability = capability_field(&mut fields)?;
        let authority = Authority::from_bytes(&fields.bytes("caveats")?)
            .ok_or_else(|| fields.error("caveats", "are not caveats"))?;
        fields.finish()?;
        Ok(PresentedCapability { capability, authority })
    }
}

/// A request as a session sends it, with the capability that it presents, if any.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthenticatedRequest {
    pub(crate) request: Request,
    pub(crate) presented: Option<PresentedCapability>,
    pub(crate) prepared: Prepared,
}

impl AuthenticatedRequest {
    /// The request without the capability.
    pub const fn request(&self) -> &Request {
        &self.request
    }
}

impl From<Request> for AuthenticatedRequest {
    fn from(request: Request) -> AuthenticatedRequest {
        AuthenticatedRequest { request, presented: None, prepared: Prepared::default() }
    }
}

impl Request {
    /// Adds a capability to the request. The request passes if the policy permits it and the capability covers it.
    #[must_use]
    pub fn presenting(self, presented: PresentedCapability) -> AuthenticatedRequest {
        AuthenticatedRequest { presented: Some(presented), ..AuthenticatedRequest::from(self) }
    }
}
