//! A session with requests and outcomes in JSON.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    sync::OnceLock,
};

use ak_host::{
    Connection, Options,
    ak_json::{Limits, Value},
    ak_kernel::{Code, Failure, Operation, Outcome, Request},
};

/// A session of a C program with a kernel; requests and outcomes are JSON.
pub struct AkSession {
    connection: Connection,
}

impl AkSession {
    pub(crate) fn open(options: &str) -> Result<AkSession, Failure> {
        let value = parse(options)?;
        let invalid = |message: String| Failure::new(Code::InvalidArgument, message);
        let members = value.as_object().ok_or_else(|| invalid("options: expected an object".into()))?;
        let mut options = Options::default();
        for (name, value) in members.iter() {
            let text =
                value.as_str().ok_or_else(|| invalid(format!("options.{}: expected a string", &**name)))?;
            options.set(name, text)?;
        }
        Ok(AkSession { connection: Connection::open(&options)? })
    }

    pub(crate) fn agent(&self, name: &str) -> Result<AkSession, Failure> {
        Ok(AkSession { connection: self.connection.agent(name)? })
    }

    pub(crate) fn call(&self, op: u16, args: &str) -> Outcome {
        let operation = Operation::from_number(op)
            .ok_or_else(|| Failure::new(Code::InvalidArgument, format!("there is no operation {op}")))?;
        self.connection.call(Request::decode(operation, &parse(args)?)?)
    }

    pub(crate) fn close(&self) {
        self.connection.close();
    }
}

/// Parses the JSON of an argument.
fn parse(text: &str) -> Result<Value, Failure> {
    Value::parse(text.as_bytes(), &Limits::default())
        .map_err(|error| Failure::new(Code::JsonInvalid, format!("the text is not JSON: {error}")))
}

/// The name of a code, as a C string that lives as long as the process.
pub(crate) fn code_name(code: i32) -> &'static CStr {
    static NAMES: OnceLock<BTreeMap<i32, CString>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let name = |code: &Code| Some((code.number(), CString::new(code.name()).ok()?));
        Code::ALL.iter().filter_map(name).collect()
    });
    match code {
        0 => c"OK",
        _ => names.get(&code).map_or(c"UNKNOWN", |name| name.as_c_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(options: &str) -> Failure {
        AkSession::open(options).err().unwrap_or_else(|| Failure::new(Code::Io, "it was opened"))
    }

    #[test]
    fn a_host_configuration_can_be_named() {
        let failure = refusal(r#"{"host_config":"/nowhere/host.toml"}"#);
        assert_eq!(failure.code, Code::NotConfigured);
        assert!(
            failure.message.starts_with("host configuration /nowhere/host.toml: "),
            "{}",
            failure.message
        );
    }

    #[test]
    fn an_unknown_option_and_a_value_that_is_no_string_are_rejected() {
        let check = |options: &str, message: &str| {
            let failure = refusal(options);
            assert_eq!((failure.code, &*failure.message), (Code::InvalidArgument, message));
        };
        check(r#"{"config":"x"}"#, "options.config: is not known here");
        check(r#"{"policy":1}"#, "options.policy: expected a string");
        check("[]", "options: expected an object");
    }
}
