//! Embeds the Authority Kernel: `cargo run -p embed-authority-kernel`.

use ak_host::ak_json::{Value, object};
use ak_host::ak_kernel::{
    AdminRequest, AuditRequest, Failure, HeapRequest, Reply, Request, ToolsRequest, ak_heap::Content,
};
use ak_host::{Connection, Options};

const POLICY: &str = r#"
[tools]
deny = ["concat"]
[budgets]
tool_calls = 10
"#;

fn main() -> Result<(), Failure> {
    let owner = Connection::open(&Options::default())?;
    owner.call(Request::Admin(AdminRequest::PolicyLoad {
        text: POLICY.into(),
        base_dir: None,
        files: Default::default(),
    }))?;

    // The session to pass to an agent: it can do what the policy permits, and cannot change the policy.
    let agent = owner.agent("worker")?;
    let content = Content::Json(object! { "value": 0 });
    let Reply::Handle(handle) = agent.call(Request::Heap(HeapRequest::Alloc {
        type_name: "counter".into(),
        content,
        subject: None,
    }))?
    else {
        unreachable!("alloc gives a handle")
    };
    println!("allocated {handle}");

    let args = object! { "a": 5, "b": 3 };
    let sum = agent.call(Request::Tools(ToolsRequest::Call { tool: "add".into(), args }))?;
    println!("the tool says {}", sum.to_value().to_json());

    let args = object! { "str1": "a", "str2": "b" };
    let denied = agent.call(Request::Tools(ToolsRequest::Call { tool: "concat".into(), args }));
    println!("concat: {}", denied.expect_err("the policy denies it"));

    let Reply::Value(verdict) =
        owner.call(Request::Audit(AuditRequest::Verify { key: None, anchor: None }))?
    else {
        unreachable!("a verdict is a value")
    };
    assert_eq!(verdict.get("consistent"), Some(&Value::Bool(true)));
    println!("the log verifies: {}", verdict.to_json());
    Ok(())
}
