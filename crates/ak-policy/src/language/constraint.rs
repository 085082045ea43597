//! Reads `when`, `unless` and `only`.

use alloc::string::ToString;
use alloc::vec::Vec;

use ak_json::Text;

use super::reader::{Node, ReadResult, Table};
use crate::condition::{
    Choice, Condition, Constraint, Format, FormatPattern, JsonType, LabelTest, Only, PLACES_MAX, Prefixes,
    Selector, SourcePattern, Test,
};
use crate::pattern::Glob;

const TESTS: [&str; 13] = [
    "equals",
    "in",
    "matches",
    "starts",
    "min",
    "max",
    "max_length",
    "type",
    "format",
    "only",
    "label",
    "from",
    "optional",
];

/// Reads a `when` or `unless`.
pub(crate) fn condition(node: &Node<'_>) -> ReadResult<Condition> {
    let table = node.table(&["args", "label"])?;
    if table.is_empty() {
        return Err(node
            .fault("condition is empty")
            .with_hint("write args.\"/pointer\" = { … } or label = \"…\""));
    }
    let mut args = Vec::new();
    if let Some(node) = table.find("args") {
        for (pointer, member) in node.members()? {
            let selector = Selector::parse(pointer).map_err(|error| member.key_fault(error.to_string()))?;
            args.push(constraint(selector, &member)?);
        }
    }
    // Two spellings of one pointer are two constraints; their order has no meaning.
    args.sort_by(|a, b| a.selector.cmp(&b.selector));
    let labels = table.find("label").map(|node| labels(&node)).transpose()?.unwrap_or_default();
    Ok(Condition { args: args.into(), labels: labels.into() })
}

fn constraint(selector: Selector, node: &Node<'_>) -> ReadResult<Constraint> {
    let table = node.table(&TESTS)?;
    let optional = table.find("optional").map(|node| node.boolean()).transpose()?.unwrap_or(false);
    let tests = tests(&table)?;
    if tests.is_empty() && !optional {
        return Err(node
            .fault("constraint is empty")
            .with_hint("write a test such as equals, in, matches or type"));
    }
    Ok(Constraint { selector, tests: tests.into(), optional })
}

fn tests(table: &Table<'_>) -> ReadResult<Vec<Test>> {
    let mut tests = Vec::new();
    if let Some(node) = table.find("type") {
        tests.push(Test::Type(node.choice(&JsonType::ALL, JsonType::as_str)?));
    }
    let format = table.find("format").map(|node| node.choice(&Format::ALL, Format::as_str)).transpose()?;
    tests.extend(format.map(Test::Format));
    if let Some(node) = table.find("equals") {
        tests.push(Test::Equals(node.value.clone()));
    }
    if let Some(node) = table.find("in") {
        let items = node.items()?;
        if items.is_empty() {
            return Err(node.fault("array is empty"));
        }
        tests.push(Test::In(Choice::new(items.iter().map(|item| item.value.clone()).collect())));
    }
    if let Some(node) = table.find("matches") {
        let pattern = |item: &Node<'_>| {
            FormatPattern::parse(format, item.text()?)
                .map_err(|error| super::reader::pattern_fault(item, error))
        };
        let mut patterns = node.one_or_many()?.iter().map(pattern).collect::<ReadResult<Vec<_>>>()?;
        patterns.sort();
        tests.push(Test::Matches(patterns.into()));
    }
    if let Some(node) = table.find("starts") {
        let prefixes = node
            .one_or_many()?
            .iter()
            .map(|item| item.text().map(Text::from))
            .collect::<ReadResult<Vec<_>>>()?;
        tests.push(Test::Starts(Prefixes::new(prefixes)));
    }
    if let Some(node) = table.find("min") {
        tests.push(Test::Min(node.number()?));
    }
    if let Some(node) = table.find("max") {
        tests.push(Test::Max(node.number()?));
    }
    if let Some(node) = table.find("max_length") {
        tests.push(Test::MaxLength(node.unsigned()?));
    }
    if let Some(node) = table.find("only") {
        tests.push(Test::Only(only(&node)?));
    }
    if let Some(node) = table.find("label") {
        tests.push(Test::Label(labels(&node)?.into()));
    }
    if let Some(node) = table.find("from") {
        let pattern = |item: &Node<'_>| {
            Glob::parse(item.text()?)
                .map(SourcePattern)
                .map_err(|error| super::reader::pattern_fault(item, error))
        };
        tests.push(Test::From(node.one_or_many()?.iter().map(pattern).collect::<ReadResult<_>>()?));
    }
    Ok(tests)
}

/// Reads an `only`: a list of pointers, which may be empty.
pub(crate) fn only(node: &Node<'_>) -> ReadResult<Only> {
    let place =
        |item: &Node<'_>| Selector::parse(item.any_text()?).map_err(|error| item.fault(error.to_string()));
    let places = node.items()?.iter().map(place).collect::<ReadResult<Vec<_>>>()?;
    Only::new(places).ok_or_else(|| node.fault(alloc::format!("more than {PLACES_MAX} pointers")))
}

fn labels(node: &Node<'_>) -> ReadResult<Vec<LabelTest>> {
    let test = |item: &Node<'_>| {
        LabelTest::parse(item.text()?).ok_or_else(|| {
            item.fault("not a label test")
                .with_hint("write 'trusted', 'untrusted', 'public', a secrecy label or '!label'")
        })
    };
    node.one_or_many()?.iter().map(test).collect()
}
