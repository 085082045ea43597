//! Commands that call every host function there is, with whatever arguments.

use std::fmt::Write;

use ak_json::Value;
use ak_sandbox::{HostCall, HostOperation};
use arbitrary::{Result, Unstructured};

const WASI: &str = "wasi_snapshot_preview1";

/// Every function of WASI preview 1 that gives an error number, with its parameters: `i` is 32 bits, `l` 64.
const FUNCTIONS: [(&str, &str); 45] = [
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "ili"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("fd_advise", "illi"),
    ("fd_allocate", "ill"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "ill"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "il"),
    ("fd_filestat_set_times", "illi"),
    ("fd_pread", "iiili"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_prestat_get", "ii"),
    ("fd_pwrite", "iiili"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiili"),
    ("fd_renumber", "ii"),
    ("fd_seek", "ilii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiilli"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiillii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_raise", "i"),
    ("random_get", "ii"),
    ("sched_yield", ""),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// Module, name, parameters and result of everything that a command can import.
fn functions() -> Vec<(&'static str, &'static str, &'static str, bool)> {
    let wasi = FUNCTIONS.iter().map(|(name, params)| (WASI, *name, *params, true));
    let own = HostOperation::ALL.iter().map(|operation| ("ak", operation.name(), "ii", true));
    let rest = [
        (WASI, "proc_exit", "i", false),
        ("ak", "log", "ii", false),
        ("ak", "fail", "ii", false),
        ("ak", "take", "i", false),
    ];
    wasi.chain(own).chain(rest).collect()
}

/// What lies in memory, so that some pointers are good: buffers at 0, names at 64 and 128, JSON at 192.
const DATA: &str = r#"(data (i32.const 0) "\00\01\00\00\10\00\00\00\40\00\00\00\ff\ff\ff\ff")
    (data (i32.const 64) "a") (data (i32.const 128) "sub/../b") (data (i32.const 192) "{\22path\22:\22/data/a\22}")"#;

/// A number that is sometimes meant well.
fn number(seed: &mut Unstructured<'_>) -> Result<i64> {
    Ok(match seed.int_in_range(0..=9)? {
        0..=5 => *seed.choose(&[0, 1, 2, 3, 4, 5, 8, 16, 18, 64, 128, 192, 256])?,
        6 => *seed.choose(&[65_535, 65_536, 65_528, -1, i64::MIN, i64::MAX, 0x7fff_ffff])?,
        7 => i64::from(seed.arbitrary::<u16>()?),
        _ => seed.arbitrary()?,
    })
}

/// The text of a module.
pub(crate) fn module(seed: &mut Unstructured<'_>) -> Result<String> {
    let functions = functions();
    let (mut imports, mut body) = (String::new(), String::new());
    for (index, (module, name, params, gives)) in functions.iter().enumerate() {
        let params: String =
            params.chars().map(|letter| if letter == 'i' { " i32" } else { " i64" }).collect();
        let result = if *gives { "(result i32)" } else { "" };
        let _ =
            writeln!(imports, "(import \"{module}\" \"{name}\" (func $f{index} (param{params}) {result}))");
    }
    for _ in 0..seed.int_in_range(1..=12)? {
        // What ends the command comes seldom.
        let last = if seed.ratio(1, 8)? { functions.len() } else { functions.len() - 4 };
        let index = seed.int_in_range(0..=last - 1)?;
        let (_, _, params, gives) = functions[index];
        let mut args = String::new();
        for letter in params.chars() {
            let number = number(seed)?;
            let _ = match letter {
                'i' => write!(args, "(i32.const {})", number as i32),
                _ => write!(args, "(i64.const {number})"),
            };
        }
        let call = format!("(call $f{index} {args})");
        let _ = writeln!(body, "{}", if gives { format!("(drop {call})") } else { call });
    }
    Ok(format!(r#"(module {imports} (memory (export "memory") 1) {DATA} (func (export "_start") {body}))"#))
}

/// A reply that may fit the call, or not at all.
pub(crate) fn garble(
    seed: &mut Unstructured<'_>,
    call: &HostCall,
    honest: std::result::Result<Value, Value>,
) -> std::result::Result<Value, Value> {
    let text = Value::from(seed.arbitrary::<&str>().unwrap_or_default());
    match seed.int_in_range(0..=9).unwrap_or_default() {
        0 => Ok(text),
        1 => Err(text),
        2 => Ok(Value::from(seed.arbitrary::<u64>().unwrap_or_default())),
        3 => Ok(call.args.clone()),
        _ => honest,
    }
}
