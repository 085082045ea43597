//! What one governed request costs in memory, under a policy of 1,000 rules: through the host, as a program calls it, and in the
//! kernel's state machine alone.

use ak_host::{
    Connection, Options,
    ak_json::{Value, object},
    ak_kernel::{
        AdminRequest, Code, Config, FileRequest, HeapRequest, Kernel, Now, Output, Reply, Request, SessionId, Time,
        ak_heap::{Content, Handle},
    },
};
use measure::{Race, Report};

/// How many rules the policy has.
const RULES: usize = 1_000;

fn main() {
    let mut report = Report::new();
    for (case, make) in CASES {
        let (host, mut kernel) = (Host::new(), Machine::new());
        let (mut through_host, mut alone) = (make(host.object), make(kernel.object));
        let race = Race::new()
            .cpu("kernel and host", move || host.call(through_host()))
            .cpu("kernel alone", move || kernel.call(alone()));
        report.add("One governed request in memory", case, race.run());
    }
    report.print();
}

type Requests = Box<dyn FnMut() -> Request>;

/// The requests, each made anew: what a caller passes is part of a call.
const CASES: [(&str, fn(Handle) -> Requests); 5] = [
    ("read", |object| Box::new(move || Request::Heap(HeapRequest::Read { handle: object, version: None }))),
    ("authorize", |_| {
        let args = object! { "to": "ann@example.com", "subject": "hello", "body": "see you", "urgent": false };
        Box::new(move || {
            Request::Admin(AdminRequest::Authorize {
                operation: "execute".into(),
                target: "send_email".into(),
                args: Some(args.clone()),
            })
        })
    }),
    ("alloc", |_| {
        let mut number = 0u64;
        Box::new(move || {
            number += 1;
            alloc(number)
        })
    }),
    ("one-field write", |object| {
        let mut number = 0u64;
        Box::new(move || {
            number += 1;
            let patch = vec![object! { "op": "replace", "path": "/value", "value": number }].into();
            Request::Heap(HeapRequest::Write { handle: object, patch, expected_version: None })
        })
    }),
    ("denied", |_| {
        Box::new(|| Request::File(FileRequest::Read { path: "/etc/shadow".into(), bytes_max: 1_000 }))
    }),
];

fn alloc(number: u64) -> Request {
    Request::Heap(HeapRequest::Alloc {
        type_name: "counter".into(),
        content: Content::Json(object! { "value": number, "name": "counter" }),
        subject: None,
    })
}

/// A policy of [`RULES`] rules, the last of which permits a tool with conditions.
fn policy() -> Request {
    let mut text = String::new();
    for rule in 1..RULES {
        text += &format!("[[rule]]\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"tool_{rule}\"\n");
    }
    text += "[[rule]]\neffect = \"permit\"\noperation = \"execute\"\ntarget = \"send_email\"\n";
    text += "when.args.\"/to\" = { matches = \"*@example.com\", format = \"email\" }\n";
    Request::Admin(AdminRequest::PolicyLoad {
        text: text.into(),
        base_dir: None,
        files: Default::default(),
    })
}

/// A kernel with its host, in memory.
struct Host {
    connection: Connection,
    object: Handle,
}

impl Host {
    fn new() -> Host {
        let connection = Connection::open(&Options::default()).expect("a kernel in memory");
        connection.call(policy()).expect("a policy");
        let object = handle(connection.call(alloc(0)));
        Host { connection, object }
    }

    fn call(&self, request: Request) {
        checked(self.connection.call(request));
    }
}

/// The state machine alone, whose records are confirmed and dropped at once.
struct Machine {
    kernel: Kernel,
    object: Handle,
    uptime_us: u64,
}

impl Machine {
    fn new() -> Machine {
        let kernel = Kernel::new(now(0), Config::default());
        let mut machine = Machine { kernel, object: Handle::from_raw(0), uptime_us: 0 };
        machine.outcome(policy()).expect("a policy");
        machine.object = handle(machine.outcome(alloc(0)));
        machine
    }

    fn call(&mut self, request: Request) {
        checked(self.outcome(request));
    }

    fn outcome(&mut self, request: Request) -> ak_host::ak_kernel::Outcome {
        // Rates refill.
        self.uptime_us += 100;
        self.kernel.dispatch(now(self.uptime_us), SessionId::OWNER, request).expect("it is admitted");
        while let Some(record) = self.kernel.poll_record() {
            self.kernel.committed(record.seq);
        }
        let mut outcome = None;
        while let Some(output) = self.kernel.poll_output() {
            if let Output::Reply(_, reply) = output {
                outcome = Some(reply);
            }
        }
        outcome.expect("a reply")
    }
}

fn now(uptime_us: u64) -> Now {
    let wall = Time::from_micros(1_767_225_600_000_000 + uptime_us);
    Now { wall, boot: [1; 16], uptime_us, synchronised: true, entropy: [7; 32] }
}

fn handle(outcome: ak_host::ak_kernel::Outcome) -> Handle {
    match outcome {
        Ok(Reply::Handle(handle)) => handle,
        other => panic!("{other:?}"),
    }
}

/// Nothing but a denial may fail.
fn checked(outcome: ak_host::ak_kernel::Outcome) {
    match outcome {
        Ok(Reply::Value(told)) => assert_ne!(told.get("authorized").and_then(Value::as_bool), Some(false)),
        Ok(_) => {}
        Err(failure) => assert_eq!(failure.code, Code::PolicyDeny, "{failure}"),
    }
}
