//! The tables that a bench prints.

use crate::race::Result;

/// The results of races, in groups with a column for each race, and the targets that they must meet.
#[derive(Default)]
pub struct Report {
    groups: Vec<Group>,
    targets: Vec<(String, String, bool)>,
}

struct Group {
    title: String,
    columns: Vec<(String, Vec<Result>)>,
}

impl Report {
    /// An empty report.
    pub fn new() -> Report {
        Report::default()
    }

    /// Adds the results of a race as a column of a group.
    pub fn add(&mut self, group: &str, case: &str, results: Vec<Result>) {
        eprintln!("{group}: {case}");
        let column = (case.to_owned(), results);
        match self.groups.iter_mut().find(|known| known.title == group) {
            Some(known) => known.columns.push(column),
            None => self.groups.push(Group { title: group.to_owned(), columns: vec![column] }),
        }
    }

    /// The time of a contender in nanoseconds; NaN if it did not take part.
    pub fn ns(&self, group: &str, case: &str, contender: &str) -> f64 {
        let group = self.groups.iter().find(|known| known.title == group);
        let column = group.and_then(|group| group.columns.iter().find(|(name, _)| name == case));
        let result = column.and_then(|(_, results)| results.iter().find(|r| r.contender == contender));
        result.map_or(f64::NAN, |result| result.ns)
    }

    /// Adds the target that a ratio is at least `bound`.
    pub fn at_least(&mut self, what: &str, ratio: f64, bound: f64) {
        self.targets.push((format!("{what}: at least {bound}×"), times(ratio), ratio >= bound));
    }

    /// Adds the target that a ratio is at most `bound`.
    pub fn at_most(&mut self, what: &str, ratio: f64, bound: f64) {
        self.targets.push((format!("{what}: at most {bound}×"), times(ratio), ratio <= bound));
    }

    /// Prints all tables and targets as Markdown. Ratios are relative to the first contender of each column.
    pub fn print(&self) {
        for Group { title, columns } in &self.groups {
            println!("\n**{title}**\n");
            let mut rows: Vec<&str> = Vec::new();
            for result in columns.iter().flat_map(|(_, results)| results) {
                if !rows.contains(&result.contender.as_str()) {
                    rows.push(&result.contender);
                }
            }
            let cases: Vec<&str> = columns.iter().map(|(case, _)| case.as_str()).collect();
            println!("| | {} |\n|---{}|", cases.join(" | "), "|---:".repeat(cases.len()));
            for row in rows {
                let cells = cases.iter().map(|case| {
                    let ns = self.ns(title, case, row);
                    let first = columns.iter().find(|(name, _)| name == case);
                    let first = first.and_then(|(_, results)| results.first());
                    match first {
                        _ if ns.is_nan() => "–".to_owned(),
                        Some(first) if first.contender != row => {
                            format!("{} ({})", duration(ns), times(ns / first.ns))
                        }
                        _ => duration(ns),
                    }
                });
                println!("| {row} | {} |", cells.collect::<Vec<_>>().join(" | "));
            }
        }
        if !self.targets.is_empty() {
            println!("\n**Targets**\n\n| | measured | |\n|---|---:|---|");
        }
        for (what, measured, met) in &self.targets {
            println!("| {what} | {measured} | {} |", if *met { "met" } else { "**missed**" });
        }
    }
}

fn duration(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{ns:.0} ns"),
        ..1e6 => format!("{:.2} µs", ns / 1e3),
        ..1e9 => format!("{:.2} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

fn times(ratio: f64) -> String {
    if ratio >= 20.0 { format!("{ratio:.0}×") } else { format!("{ratio:.2}×") }
}
