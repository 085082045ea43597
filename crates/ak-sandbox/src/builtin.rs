/// The tools that come with the kernel, each as the text of its manifest and its module: `add` for two numbers and
/// `concat` for two strings. Both are pure; their sources are beside the modules in `tools/`.
pub fn builtin() -> [(&'static str, &'static [u8]); 2] {
    [
        (include_str!("../tools/add.toml"), include_bytes!("../tools/add.wasm")),
        (include_str!("../tools/concat.toml"), include_bytes!("../tools/concat.wasm")),
    ]
}
