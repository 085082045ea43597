//! Guesses the intended word.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Words of other policy languages, and the one of this language that stands for each.
const SYNONYMS: [(&str, &str); 19] = [
    ("deny", "forbid"),
    ("block", "forbid"),
    ("reject", "forbid"),
    ("disallow", "forbid"),
    ("allow", "permit"),
    ("grant", "permit"),
    ("accept", "permit"),
    ("approve", "ask"),
    ("confirm", "ask"),
    ("call", "execute"),
    ("run", "execute"),
    ("tool", "execute"),
    ("inference", "infer"),
    ("model", "infer"),
    ("http", "http.*"),
    ("fs", "fs.*"),
    ("file", "fs.*"),
    ("heap", "heap.*"),
    ("audit", "audit.*"),
];

/// What to write instead of a text that is none of the known words: the word that stands for it, those that end with it
/// (`fs.read` for `read`), the nearest one, or all of them.
///
/// ```
/// # use ak_policy::did_you_mean;
/// assert_eq!(did_you_mean("deny", &["permit", "forbid", "ask"]), "write 'forbid'");
/// assert_eq!(did_you_mean("token", &["tokens", "memory"]), "did you mean 'tokens'?");
/// assert_eq!(did_you_mean("x", &["read", "write"]), "known here: read, write");
/// ```
#[must_use]
pub fn did_you_mean(text: &str, known: &[&str]) -> String {
    let lower = text.to_lowercase();
    let synonym = SYNONYMS.iter().find(|(said, _)| *said == lower).map(|(_, meant)| *meant);
    let family = |meant: &str| {
        meant.strip_suffix('*').is_some_and(|prefix| known.iter().any(|word| word.starts_with(prefix)))
    };
    if let Some(meant) = synonym.filter(|meant| known.contains(meant) || family(meant)) {
        return format!("write '{meant}'");
    }
    let ends_with = |word: &&&str| word.rsplit_once('.').is_some_and(|(_, last)| last == lower);
    let quoted = |words: Vec<String>| words.join(" or ");
    let longer: Vec<String> = known.iter().filter(ends_with).map(|word| format!("'{word}'")).collect();
    if !longer.is_empty() {
        return format!("did you mean {}?", quoted(longer));
    }
    match nearest(text, known.iter().copied()) {
        Some(word) => format!("did you mean '{word}'?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The known word closest to the text, if it is at most a third of its length away, and one edit for short texts.
fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = |text: &str| text.chars().take(64).flat_map(char::to_lowercase).collect::<Vec<_>>();
    let text = lower(text);
    let distance_max = (text.len() / 3).max(1);
    known
        .map(|word| (distance(&text, &lower(word)), word))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// The number of insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &ca) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(last.len());
        row.push(i + 1);
        for (j, &cb) in b.iter().enumerate() {
            let at = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&last, j) + usize::from(ca != cb);
            let mut best = replaced.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(&cb) && b.get(j - 1) == Some(&ca);
            if swapped {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = core::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_slips_are_understood() {
        let check = |text: &str, expected: Option<&str>| {
            let known = ["read", "write", "deny", "capability", "max_tokens"];
            assert_eq!(nearest(text, known.into_iter()), expected, "{text}");
        };
        check("raed", Some("read"));
        check("READ", Some("read"));
        check("reads", Some("read"));
        check("capabilites", Some("capability"));
        check("max-tokens", Some("max_tokens"));
        check("frobnicate", None);
        check("", None);
        // Half of a short word is another word.
        check("send", None);
    }

    #[test]
    fn words_of_other_languages_are_understood() {
        let check = |text: &str, known: &[&str], expected: &str| {
            assert_eq!(did_you_mean(text, known), expected, "{text}");
        };
        let effects = ["forbid", "ask", "permit"];
        check("deny", &effects, "write 'forbid'");
        check("Allow", &effects, "write 'permit'");
        check("confirm", &effects, "write 'ask'");
        check("block", &["permit"], "known here: permit");
        let operations = ["fs.read", "fs.list", "heap.read", "execute"];
        check("read", &operations, "did you mean 'fs.read' or 'heap.read'?");
        check("list", &operations, "did you mean 'fs.list'?");
        check("call", &operations, "write 'execute'");
        check("file", &operations, "write 'fs.*'");
        check("http", &operations, "known here: fs.read, fs.list, heap.read, execute");
    }
}
