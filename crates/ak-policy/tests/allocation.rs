//! A permit allocates nothing.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ak_json::object;
use ak_policy::{Policy, PolicyDecision, Query, Target};

/// The system's allocator, counting what this thread asks of it.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator can only be written so; it passes everything on")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

#[test]
fn a_permit_allocates_nothing() {
    let policy = Policy::parse(
        r#"
        [fs]
        read = ["/app/**", "/data/*/x/**/*.csv"]
        [http]
        allow = ["GET https://*.example.com/**", "GET https://api.test/v1/*"]
        [net]
        connect = ["ip:10.0.0.0/8:5432"]
        deny = ["*.evil.com"]
        [agent."crew/writer"]
        tools.deny = ["shell"]
        [[capability]]
        name = "granted"
        rate = "5/min"
        [[rule]]
        effect = "permit"
        operation = "execute"
        target = "pay_*"
        agent = ["main", "crew", "crew/*"]
        time = "00:00-24:00"
        when.args."/amount" = { type = "number", min = 0, max = 100 }
        when.args."/to/*" = { type = "string", matches = ["DE*"], max_length = 30 }
        unless.args."/note" = { starts = "!" }
        only = ["/amount", "/to", "/note"]
        "#,
        None,
    )
    .unwrap();
    let args = object! { "amount": 5, "to": ak_json::array!["DE1", "DE2"], "note": "x" };
    for (agent, operation, target) in [
        ("main", "read", "/app/src/main.rs"),
        ("main", "read", "/data/a/x/b/c/d.csv"),
        ("main", "http", "https://www.example.com/a?b=c"),
        ("main", "http", "https://api.test/v1/x"),
        ("main", "connect", "ip:10.1.2.3:5432"),
        ("main", "execute", "granted"),
        ("main", "execute", "add"),
        ("crew/writer", "execute", "pay_bill"),
    ] {
        let (action, target) = Target::resolve(operation, target).unwrap();
        let query = Query { args: Some(&args), ..Query::new(agent, action, &target) };
        let mut verdict = PolicyDecision::DefaultDeny;
        let count = allocations(|| verdict = policy.decide(&query).decision);
        assert_eq!((verdict, count), (PolicyDecision::Permit, 0), "{agent}: {action} {target}");
    }
    assert_ne!(allocations(|| drop(Vec::<u8>::with_capacity(1))), 0, "what is counted is counted");
}
