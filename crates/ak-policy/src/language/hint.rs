//! Guesses the intended word.

use alloc::vec::Vec;

/// The known word closest to the text, if at most 1 + length/4 edits away.
pub(crate) fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = |text: &str| text.chars().take(64).flat_map(char::to_lowercase).collect::<Vec<_>>();
    let text = lower(text);
    let distance_max = 1 + text.len() / 4;
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
    }
}
