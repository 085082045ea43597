//! Host calls of running tools, as the kernel's own requests.

use alloc::{boxed::Box, format};

use ak_json::{Object, Value, object};
use ak_sandbox::{HostCall, HostOperation};

use crate::api::{
    code::Code,
    fields::{FieldError, Fields},
    operation::Operation,
    price::Price,
    reply::Failure,
    request::{InferRequest, Request},
};

/// Most random bytes that one host call returns.
pub const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// A well-formed host call of a tool, for [`Kernel::host_call`](crate::Kernel::host_call).
#[derive(Clone, Debug, PartialEq)]
pub struct ToolRequest {
    pub(crate) operation: HostOperation,
    pub(crate) kind: ToolRequestKind,
    /// The fuel that the tool has left, which bounds a tool that it calls.
    pub(crate) fuel_left: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ToolRequestKind {
    /// A request that an agent could make too, with the same name and arguments.
    Request(Box<Request>),
    /// Asks for the kernel's wall-clock time.
    Now,
    /// Asks for this number of random bytes.
    Random(u64),
}

impl ToolRequest {
    /// Reads a host call of a guest that has `fuel_left` fuel left. The arguments have the wire form of the request
    /// that the host call corresponds to.
    ///
    /// # Errors
    /// INVALID_ARGUMENT names the argument; the guest receives the failure as the reply to its call.
    pub fn of(HostCall { operation, args }: HostCall, fuel_left: u64) -> Result<ToolRequest, Failure> {
        let request = ToolRequest::decode(operation, &args, fuel_left)?;
        if let Some(Request::Infer(InferRequest { stream, price, .. })) = request.request() {
            if *stream {
                let message = "args.stream: tools cannot stream; omit it";
                return Err(Failure::new(Code::InvalidArgument, message));
            }
            if price.is_some() {
                return Err(Failure::new(
                    Code::InvalidArgument,
                    "args.price: tools cannot set the price; omit it",
                ));
            }
        }
        Ok(request)
    }

    fn decode(operation: HostOperation, args: &Value, fuel_left: u64) -> Result<ToolRequest, FieldError> {
        let mut fields = Fields::new("args", args)?;
        let kind = match stands_for(operation) {
            Some(request) => ToolRequestKind::Request(Box::new(Request::decode(request, args)?)),
            None if operation == HostOperation::Random => {
                let bytes = fields.u64("bytes")?;
                if bytes > RANDOM_BYTES_MAX {
                    return Err(fields.error("bytes", format!("is above {RANDOM_BYTES_MAX}")));
                }
                fields.finish()?;
                ToolRequestKind::Random(bytes)
            }
            None => ToolRequestKind::Now,
        };
        Ok(ToolRequest { operation, kind, fuel_left })
    }

    /// Sets the price of the model that the request names; see
    /// [`AuthenticatedRequest::priced`](crate::AuthenticatedRequest::priced).
    #[must_use]
    pub fn priced(mut self, price: impl FnOnce(&str) -> Option<Price>) -> ToolRequest {
        if let ToolRequestKind::Request(request) = &mut self.kind
            && let Request::Infer(request) = &mut **request
        {
            request.set_price(price);
        }
        self
    }

    /// Whether both are the same host call apart from prices, which the host adds.
    pub(crate) fn is_the_same_as(&self, other: &ToolRequest) -> bool {
        let unpriced = |request: &ToolRequest| request.clone().priced(|_| None);
        unpriced(self) == unpriced(other)
    }

    /// The request that an agent could make too; `None` for the time and for random bytes.
    pub fn request(&self) -> Option<&Request> {
        match &self.kind {
            ToolRequestKind::Request(request) => Some(request),
            ToolRequestKind::Now | ToolRequestKind::Random(_) => None,
        }
    }

    /// The journal's form.
    pub(crate) fn to_value(&self) -> Value {
        let args = match &self.kind {
            ToolRequestKind::Request(request) => request.args(),
            ToolRequestKind::Now => Object::new().into(),
            ToolRequestKind::Random(bytes) => object! { "bytes": *bytes },
        };
        object! { "call": self.operation.name(), "args": args, "fuel_left": self.fuel_left }
    }

    pub(crate) fn from_value(value: &Value) -> Result<ToolRequest, FieldError> {
        let mut fields = Fields::new("request", value)?;
        let name = fields.text("call")?;
        let operation = HostOperation::ALL.into_iter().find(|operation| operation.name() == &*name);
        let operation = operation.ok_or_else(|| fields.error("call", "is no host call"))?;
        let request = ToolRequest::decode(operation, &fields.value("args")?, fields.u64("fuel_left")?)?;
        fields.finish()?;
        Ok(request)
    }
}

/// The operation that the host call corresponds to; `None` if agents have none.
pub(crate) const fn stands_for(operation: HostOperation) -> Option<Operation> {
    match operation {
        HostOperation::FsRead => Some(Operation::FsRead),
        HostOperation::FsWrite => Some(Operation::FsWrite),
        HostOperation::FsStat => Some(Operation::FsStat),
        HostOperation::FsList => Some(Operation::FsList),
        HostOperation::FsDelete => Some(Operation::FsDelete),
        HostOperation::Http => Some(Operation::Http),
        HostOperation::Infer => Some(Operation::Inference),
        HostOperation::HeapRead => Some(Operation::Read),
        HostOperation::HeapWrite => Some(Operation::Write),
        HostOperation::Call => Some(Operation::Call),
        HostOperation::Now | HostOperation::Random => None,
    }
}
