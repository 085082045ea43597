//! Puts mutants into source files: each source text beside its replacement, with a number that selects one of the two.

use std::{collections::BTreeMap, fs};

use crate::run::{Result, root};

/// One check or charge in the source, and its replacement.
pub(super) struct Mutant {
    /// The file below [`SOURCES`].
    pub(super) file: &'static str,
    /// The exact source text: a statement with its semicolon or block, or an expression.
    source: &'static str,
    /// Which occurrence of the text, from 0.
    which: usize,
    /// How often the text occurs in the file.
    occurrences: usize,
    replacement: &'static str,
    /// The property that the replacement removes.
    pub(super) removes: &'static str,
}

/// A mutant whose text occurs once in the file.
pub(super) const fn mutant(
    file: &'static str,
    source: &'static str,
    replacement: &'static str,
    removes: &'static str,
) -> Mutant {
    Mutant { file, source, which: 0, occurrences: 1, replacement, removes }
}

/// A mutant whose text occurs several times in the file: the text, which occurrence (from 0), and how many there are.
pub(super) const fn nth(
    file: &'static str,
    (source, which, occurrences): (&'static str, usize, usize),
    replacement: &'static str,
    removes: &'static str,
) -> Mutant {
    Mutant { file, source, which, occurrences, replacement, removes }
}

/// The folder that all mutants are in.
pub(super) const SOURCES: &str = "crates/ak-kernel/src";

/// The text of every file that has mutants, with all of them put in, by its path in the repository.
///
/// # Errors
/// Names each mutant whose text does not occur in its file as often as expected, or overlaps the text of another.
pub(super) fn instrumented(table: &[Mutant]) -> Result<BTreeMap<String, String>> {
    let mut by_file: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
    for (number, mutant) in table.iter().enumerate() {
        by_file.entry(mutant.file).or_default().push((number, mutant));
    }
    let (mut files, mut errors) = (BTreeMap::new(), Vec::new());
    for (file, mutants) in by_file {
        let path = format!("{SOURCES}/{file}");
        let read = fs::read_to_string(root().join(&path)).map_err(|error| Vec::from([error.to_string()]));
        match read.and_then(|text| with_mutants(&text, &mutants)) {
            Ok(text) => {
                files.insert(path, text);
            }
            Err(found) => errors.extend(found.into_iter().map(|error| format!("{path}: {error}"))),
        }
    }
    if errors.is_empty() { Ok(files) } else { Err(errors.join("\n")) }
}

/// The text of a file with these mutants, each guarded by its number.
fn with_mutants(text: &str, mutants: &[(usize, &Mutant)]) -> std::result::Result<String, Vec<String>> {
    let (mut places, mut errors) = (BTreeMap::new(), Vec::new());
    for (number, mutant) in mutants {
        match place(text, mutant) {
            Ok(at) => {
                if let Some((other, _)) = places.insert(at, (*number, *mutant)) {
                    errors.push(format!("mutants {other} and {number} have one place"));
                }
            }
            Err(error) => errors.push(format!("mutant {number} ({}): {error}", mutant.removes)),
        }
    }
    let (mut out, mut from) = (String::new(), 0);
    for (at, (number, Mutant { source, replacement, .. })) in places {
        let Some(between) = text.get(from..at) else {
            errors.push(format!("mutant {number} overlaps another one"));
            continue;
        };
        let chosen = format!("if crate::mutant({number}) {{ {replacement} }} else {{ {source} }}");
        out.push_str(between);
        out.push_str(&if source.ends_with([';', '}']) { chosen } else { format!("({chosen})") });
        from = at + source.len();
    }
    out.push_str(text.get(from..).unwrap_or_default());
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

/// The byte offset at which a mutant's text begins.
fn place(text: &str, Mutant { source, which, occurrences, .. }: &Mutant) -> Result<usize> {
    let found: Vec<usize> = text.match_indices(source).map(|(at, _)| at).collect();
    match found.get(*which) {
        Some(at) if found.len() == *occurrences => Ok(*at),
        _ => Err(format!("expected {source:?} {occurrences} times, found it {} times", found.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Mutant, mutant, nth, with_mutants};

    fn check(text: &str, table: &[Mutant]) -> Result<String, Vec<String>> {
        with_mutants(text, &table.iter().enumerate().collect::<Vec<_>>())
    }

    #[test]
    fn a_statement_and_an_expression_stand_beside_their_replacements() {
        let table = [mutant("", "f();", "", "a"), mutant("", "x > 1", "false", "b")];
        let expected =
            "if crate::mutant(0) {  } else { f(); } y = (if crate::mutant(1) { false } else { x > 1 });";
        assert_eq!(check("f(); y = x > 1;", &table), Ok(expected.to_owned()));
    }

    #[test]
    fn one_of_several_occurrences_is_replaced() {
        let chosen = |which| check("a a", &[nth("", ("a", which, 2), "b", "")]);
        assert_eq!(chosen(0), Ok("(if crate::mutant(0) { b } else { a }) a".to_owned()));
        assert_eq!(chosen(1), Ok("a (if crate::mutant(0) { b } else { a })".to_owned()));
    }

    #[test]
    fn a_text_that_stands_there_another_number_of_times_is_an_error() {
        for table in [mutant("", "b", "", ""), mutant("", "a", "", ""), nth("", ("a", 1, 3), "", "")] {
            assert!(check("a a", &[table]).is_err());
        }
    }

    #[test]
    fn mutants_that_share_a_place_or_overlap_are_an_error() {
        assert!(check("ab", &[mutant("", "ab", "", ""), mutant("", "a", "", "")]).is_err());
        assert!(check("ab", &[mutant("", "ab", "", ""), mutant("", "b", "", "")]).is_err());
    }
}
