//! The documents that are stored and changed.

/// The cases: the size of the document, and its number of items; 0 means a single item of 100 B.
pub(crate) const SIZES: [(&str, usize); 3] = [("100 B", 0), ("10 KB", 100), ("1 MB", 10_000)];

fn item(index: usize) -> String {
    format!(
        r#"{{"id":{index},"name":"user {index}","email":"user{index}@example.com","active":{},"score":{index}.5,"tags":["a","bb"]}}"#,
        index % 2 == 0
    )
}

/// A document with this many items.
pub(crate) fn text(items: usize) -> String {
    if items == 0 {
        return item(7);
    }
    let list: Vec<String> = (0..items).map(item).collect();
    format!(r#"{{"version":1,"items":[{}]}}"#, list.join(","))
}

/// The JSON Pointer of the field that is replaced: in the item in the middle.
pub(crate) fn path(items: usize) -> String {
    if items == 0 { "/score".to_owned() } else { format!("/items/{}/score", items / 2) }
}

/// The path of the same field in SQLite's notation.
pub(crate) fn sqlite_path(items: usize) -> String {
    if items == 0 { "$.score".to_owned() } else { format!("$.items[{}].score", items / 2) }
}

/// A patch that replaces the field.
pub(crate) fn patch(items: usize, score: u32) -> String {
    format!(r#"[{{"op":"replace","path":"{}","value":{score}}}]"#, path(items))
}

/// All numbers below a power of ten, in an order that no cache can predict.
#[derive(Clone)]
pub(crate) struct Shuffle {
    count: u64,
    at: u64,
}

impl Shuffle {
    pub(crate) fn new(count: u64) -> Shuffle {
        Shuffle { count, at: 0 }
    }

    /// The next number. The step is prime to the count, so each number comes once a round.
    pub(crate) fn next(&mut self) -> usize {
        self.at = (self.at + 618_033_989) % self.count;
        self.at as usize
    }
}
