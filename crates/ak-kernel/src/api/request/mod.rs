//! The requests that a session may send.

mod admin;
mod agent;
mod audit;
mod file;
mod heap;
mod http;
mod infer;
mod tools;

pub use admin::AdminRequest;
pub use agent::AgentRequest;
pub use audit::AuditRequest;
pub use file::{FILE_BYTES_MAX, FileRequest, GLOB_LIMIT, GLOB_LIMIT_MAX};
pub use heap::{BatchPart, HeapRequest};
pub use http::{HTTP_HEADERS_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_TIMEOUT_MS, HttpRequest, RESPONSE_BYTES_MAX};
pub use infer::InferRequest;
pub use tools::ToolsRequest;

/// A typed request: one of a closed set of operations, by family. Text from outside is parsed into a `Request` at
/// the edge, or refused there.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Heap objects and their types.
    Heap(HeapRequest),
    /// Files and directories.
    File(FileRequest),
    /// An HTTP request.
    Http(HttpRequest),
    /// A request to a model.
    Infer(InferRequest),
    /// Calls and registration of tools.
    Tools(ToolsRequest),
    /// Sessions, budgets and capabilities of agents.
    Agent(AgentRequest),
    /// The audit log.
    Audit(AuditRequest),
    /// The policy, and previews of its decisions.
    Admin(AdminRequest),
}

macro_rules! families {
    ($($family:ident($request:ident))*) => {$(
        impl From<$request> for Request {
            fn from(request: $request) -> Request {
                Request::$family(request)
            }
        }
    )*};
}

families! {
    Heap(HeapRequest) File(FileRequest) Http(HttpRequest) Infer(InferRequest) Tools(ToolsRequest) Agent(AgentRequest) Audit(AuditRequest)
    Admin(AdminRequest)
}
