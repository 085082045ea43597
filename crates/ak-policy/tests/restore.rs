//! A table comes back from its value, with the claims on it, and no other value makes a table.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod caveats;
mod tables;

use ak_json::{Limits, Value, array, object};
use ak_policy::budget::{BudgetLimit, Dimension, Ledger, Spender};
use ak_policy::capability::{
    CAVEAT_BYTES_MAX, CapId, CapTable, Caveat, DEPTH_MAX, DeriveError, TargetPattern,
};
use ak_policy::{Action, Elapsed, GrantTable, LimitTable, Query, TableError, Target, TargetKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tables::{Caps, Step, Table, World, step};

/// The value as it comes back from a text.
fn reread(value: &Value) -> Value {
    Value::parse(value.to_json().as_bytes(), &Limits::default()).unwrap()
}

fn comes_back<T: Table>(steps: &[Step], more: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::<T>::default();
    for step in steps {
        world.step(step);
        let value = world.table.to_value();
        prop_assert_eq!(&T::from_value(&value).unwrap(), &world.table);
        prop_assert!(T::is_sound(&value));
    }
    let mut again = world.restored();
    prop_assert_eq!(&again.table, &world.table);
    prop_assert_eq!(again.table.to_value().digest(), world.table.to_value().digest());
    prop_assert_eq!(again.open.len(), world.open.len());
    for step in more {
        prop_assert_eq!(again.step(step), world.step(step));
        prop_assert_eq!(&again.table, &world.table);
    }
    Ok(())
}

/// What a mutation does to one place of a value.
#[derive(Clone, Copy, Debug)]
enum Bend {
    Put(&'static str),
    /// Puts what stands elsewhere.
    Copy(Index),
    Add(i64),
    Remove(Index),
    Repeat(Index),
    Swap(Index, Index),
}

fn bend() -> impl Strategy<Value = (Index, Bend)> {
    let scalars =
        ["null", "0", "1", "2", "1.0", "-1", "4294967295", "18446744073709551615", "\"0\"", "[]", "{}"];
    let bend = prop_oneof![
        3 => prop::sample::select(scalars.to_vec()).prop_map(Bend::Put),
        3 => any::<Index>().prop_map(Bend::Copy),
        4 => prop::sample::select(vec![-1, 1]).prop_map(Bend::Add),
        1 => any::<Index>().prop_map(Bend::Remove),
        1 => any::<Index>().prop_map(Bend::Repeat),
        2 => any::<(Index, Index)>().prop_map(|(a, b)| Bend::Swap(a, b)),
    ];
    (any::<Index>(), bend)
}

/// All parts of a value, itself first.
fn parts(value: &Value) -> Vec<Value> {
    let below: Vec<Value> = match value {
        Value::Array(array) => array.iter().flat_map(parts).collect(),
        Value::Object(object) => object.values().flat_map(parts).collect(),
        _ => Vec::new(),
    };
    std::iter::once(value.clone()).chain(below).collect()
}

/// The value with the part of this number put through `bend`.
fn bend_at(value: &Value, at: &mut usize, bend: &impl Fn(&Value) -> Value) -> Value {
    let here = *at == 0;
    *at = at.wrapping_sub(1);
    if here {
        return bend(value);
    }
    match value {
        Value::Array(array) => {
            Value::from(array.iter().map(|item| bend_at(item, at, bend)).collect::<Vec<_>>())
        }
        Value::Object(object) => {
            Value::Object(object.iter().map(|(name, value)| (name, bend_at(value, at, bend))).collect())
        }
        other => other.clone(),
    }
}

fn bent(value: &Value, (at, bend): &(Index, Bend)) -> Value {
    let all = parts(value);
    let one = |part: &Value| match (bend, part) {
        (Bend::Put(text), _) => Value::parse(text.as_bytes(), &Limits::default()).unwrap(),
        (Bend::Copy(from), _) => from.get(&all).clone(),
        (Bend::Add(by), Value::Number(number)) => match number.as_u64() {
            Some(number) => Value::from(number.wrapping_add_signed(*by)),
            None => part.clone(),
        },
        (bend, Value::Array(array)) if !array.is_empty() => {
            let mut items: Vec<_> = array.iter().cloned().collect();
            match bend {
                Bend::Remove(at) => drop(items.remove(at.index(items.len()))),
                Bend::Repeat(at) => items.push(at.get(&items).clone()),
                Bend::Swap(a, b) => items.swap(a.index(array.len()), b.index(array.len())),
                Bend::Put(_) | Bend::Copy(_) | Bend::Add(_) => {}
            }
            Value::from(items)
        }
        (bend, Value::Object(object)) if !object.is_empty() => {
            let mut object = object.clone();
            let name = |at: &Index| object.keys().nth(at.index(object.len())).unwrap().clone();
            match bend {
                Bend::Remove(at) => drop(object.remove(&name(at))),
                Bend::Repeat(at) => drop(object.insert(format!("{}x", name(at)), 0)),
                Bend::Swap(a, b) => {
                    let (a, b) = (name(a), name(b));
                    let (x, y) = (object.get(&a).unwrap().clone(), object.get(&b).unwrap().clone());
                    object.insert(a, y);
                    object.insert(b, x);
                }
                Bend::Put(_) | Bend::Copy(_) | Bend::Add(_) => {}
            }
            Value::Object(object)
        }
        (_, part) => part.clone(),
    };
    bend_at(value, &mut at.index(all.len()), &one)
}

/// A bent value is refused, or is that of a table: it says nothing that the table does not, and whatever is done
/// to the table leads to tables.
fn is_refused_or_a_table<T: Table>(
    steps: &[Step],
    bends: &[(Index, Bend)],
    more: &[Step],
) -> Result<(), TestCaseError> {
    let mut world = World::<T>::default();
    for step in steps {
        world.step(step);
    }
    let value = bends.iter().fold(world.table.to_value(), |value, bend| bent(&value, bend));
    let Ok(table) = T::from_value(&value) else { return Ok(()) };
    prop_assert_eq!(&table.to_value(), &value);
    prop_assert!(T::is_sound(&value));
    let claims = world.open.iter().filter_map(|claim| table.take_up(&bent(&T::write(claim), &bends[0])));
    let mut again = World { open: claims.collect(), table, made: world.made.clone() };
    for step in more {
        again.step(step);
        let value = again.table.to_value();
        let read = T::from_value(&value);
        prop_assert_eq!(read.as_ref(), Ok(&again.table));
        prop_assert!(T::is_sound(&value));
    }
    Ok(())
}

macro_rules! tables {
    ($($comes_back:ident $is_refused:ident $table:ty;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(150))]
            $(
                #[test]
                fn $comes_back(steps in vec(step(), 0..40), more in vec(step(), 0..20)) {
                    comes_back::<$table>(&steps, &more)?;
                }
            )*
        }
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(2_000))]
            $(
                #[test]
                fn $is_refused(steps in vec(step(), 0..20), bends in vec(bend(), 1..3), more in vec(step(), 0..10)) {
                    is_refused_or_a_table::<$table>(&steps, &bends, &more)?;
                }
            )*
        }
    };
}

tables! {
    grants_come_back_from_their_value bent_grants_are_refused_or_a_table GrantTable;
    a_ledger_comes_back_from_its_value a_bent_ledger_is_refused_or_a_ledger Ledger;
    limits_come_back_from_their_value bent_limits_are_refused_or_a_table LimitTable;
    capabilities_come_back_from_their_value bent_capabilities_are_refused_or_a_table Caps;
}

/// One row: the value with `put` at a pointer is refused, the error lies there and holds these words.
#[track_caller]
fn refused<T: std::fmt::Debug>(
    from_value: fn(&Value) -> Result<T, TableError>,
    value: &Value,
    pointer: &str,
    put: Value,
    at: &str,
    words: &str,
) {
    from_value(value).unwrap();
    let error = from_value(&with(value, pointer, put)).unwrap_err();
    assert_eq!((error.at.to_string().as_str(), error.reason.contains(words)), (at, true), "{error}");
}

/// The value with another at a pointer.
fn with(value: &Value, pointer: &str, put: Value) -> Value {
    let Some((token, rest)) = pointer.strip_prefix('/').map(|rest| match rest.find('/') {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    }) else {
        return put;
    };
    let mut value = value.clone();
    match &mut value {
        Value::Object(object) => {
            let below = object.get(token).cloned().unwrap_or(Value::Null);
            object.insert(token, with(&below, rest, put));
        }
        Value::Array(array) => {
            let index = token.parse().unwrap();
            let below = array.get(index).cloned().unwrap_or(Value::Null);
            if array.set(index, with(&below, rest, put.clone())).is_none() {
                array.push(put);
            }
        }
        _ => panic!("nothing stands at {pointer}"),
    }
    value
}

#[test]
fn no_other_value_is_a_ledger() {
    let mut ledger = Ledger::default();
    ledger.set_limit(Dimension::Tokens, Some(100));
    ledger.set_policy_limits([
        (Dimension::Tokens, BudgetLimit::per(90, 10)),
        (Dimension::Tokens, BudgetLimit::ever(95)),
    ]);
    ledger.record(Spender::Itself, Dimension::Cpu, 1, Elapsed::exactly(3));
    ledger.record(Spender::Itself, Dimension::Cpu, 1, Elapsed::exactly(1 << 40));
    let claims = [(Dimension::Tokens, 5), (Dimension::Tokens, 6), (Dimension::Bytes, 1)];
    let mut reserve = |amounts: &[_]| ledger.reserve(Spender::Itself, amounts, Elapsed::default());
    let claims = [reserve(&claims), reserve(&[]), reserve(&[(Dimension::Tokens, 7)])];
    let value = ledger.to_value();
    let check = |pointer, put, at, words| refused(Ledger::from_value, &value, pointer, put, at, words);
    check("", array![], "", "not an object");
    check("/more", 0.into(), "", "unknown");
    check("/last", 2.into(), "/reservations/2", "not the number of an open");
    check("/last", u64::MAX.into(), "/last", "too many");
    check("/last", Value::Null, "/last", "whole number");
    check("/accounts/token", object! {}, "/accounts/token", "no dimension");
    let account = |itself: Value| {
        object! { "policy": array![], "set": Value::Null, "itself": itself, "below": Value::Null }
    };
    check("/accounts/memory", account(Value::Null), "/accounts/memory", "says nothing");
    let nothing = object! { "used": 0, "reserved": 0, "usage": array![] };
    check("/accounts/memory", account(nothing), "/accounts/memory/itself", "says nothing");
    let held = object! { "used": 1, "reserved": 0, "usage": array![1, 1, 1] };
    check("/accounts/memory", account(held), "/accounts/memory/itself/usage", "takes no period");
    check("/accounts/tokens/policy/0", array![1, 11, false], "/accounts/tokens/policy/1", "not behind");
    check("/accounts/tokens/policy/0", array![1, 11, 1], "/accounts/tokens/policy/0/2", "neither true");
    let usage = "/accounts/cpu/itself/usage";
    check("/accounts/cpu/itself/used", 1.into(), usage, "more than was used");
    check(usage, array![3, 3, 1, 3, 3, 1], "/accounts/cpu/itself/usage/3", "not behind the time");
    check(usage, array![3, 5, 1, 4, 4, 1], "/accounts/cpu/itself/usage/3", "not behind the time");
    check(usage, array![3, 2, 1], "/accounts/cpu/itself/usage/1", "lower bound exceeds");
    check(usage, array![3, 3, 0], "/accounts/cpu/itself/usage/2", "the amount is 0");
    check(usage, array![3], usage, "in turn");
    check("/accounts/tokens/itself/reserved", 17.into(), "/accounts", "sum of the open reservations");
    check("/reservations/0/0", 0.into(), "/reservations/0", "not the number of an open");
    check("/reservations/0/0", 2.into(), "/reservations/1", "not the number of an open");
    check("/reservations/0/1", "below".into(), "/accounts", "sum of the open reservations");
    check("/reservations/0/1", "me".into(), "/reservations/0/1", "expected 'itself' or 'below'");
    check("/reservations/0/2/0/0", "x".into(), "/reservations/0/2/0/0", "no dimension");
    check("/reservations/0/2/0/1", u64::MAX.into(), "/accounts", "sum of the open reservations");
    check("/reservations/0/2/0", array!["tokens"], "/reservations/0/2/0", "items");
    let error = Ledger::from_value(&with(&value, "/last", 2.into())).unwrap_err();
    assert_eq!(error.to_string(), "ledger at '/reservations/2': not the number of an open reservation");

    let again = Ledger::from_value(&value).unwrap();
    for claim in claims.map(Result::unwrap) {
        assert_eq!(again.reservation(claim.id()).as_ref(), Some(&claim));
        ledger.settle_in_full(claim, Elapsed::default());
    }
    assert_eq!((again.reservation(0), again.reservation(4), ledger.reservation(1)), (None, None, None));
}

#[test]
fn no_other_value_is_a_table_of_grants() {
    let mut world = World::<GrantTable>::default();
    world.step(&Step { now_us: 7, ..Step::default() });
    let value = world.table.to_value();
    let (id, _) = value
        .as_object()
        .unwrap()
        .iter()
        .find(|(_, entry)| entry.get("bucket").is_some_and(|bucket| !bucket.is_null()))
        .unwrap();
    let check = |below: &str, put, at: &str, words| {
        let (pointer, at) = (format!("/{id}{below}"), format!("/{id}{at}"));
        refused(GrantTable::from_value, &value, &pointer, put, &at, words);
    };
    check("/first_loaded", array![8, 8], "", "older than its grant");
    check("/first_loaded", array![7, 6], "/first_loaded", "lower bound exceeds");
    check("/bucket/per_us", 0.into(), "/bucket/per_us", "the period is 0");
    check("/bucket/count", (1u64 << 32).into(), "/bucket/count", "in range");
    check("/bucket/owed", "00".into(), "/bucket/owed", "in digits");
    check("/bucket/owed", "+1".into(), "/bucket/owed", "in digits");
    check("/usage", array![7, 7], "/usage", "in turn");
    let entry = value.get(id).unwrap().clone();
    refused(GrantTable::from_value, &value, "/abc", entry, "/abc", "digest");
}

#[test]
fn no_other_value_is_a_table_of_limits() {
    let mut world = World::<LimitTable>::default();
    for now_us in [0, 100, 100] {
        world.step(&Step { now_us, number: 5, ..Step::default() });
    }
    let value = world.table.to_value();
    let id = value.pointer(&"/open/0/1/0/0".parse().unwrap()).unwrap().as_str().unwrap();
    let usage = format!("/counts/{id}/usage");
    let check = |pointer: &str, put, at: &str, words| {
        refused(LimitTable::from_value, &value, pointer, put, at, words);
    };
    check(&usage, array![0, 5], &usage, "in turn");
    check(&usage, array![1, 5, 1, 1, 5, 1], &format!("{usage}/3"), "not behind");
    check(
        &usage,
        (1u64..70_000)
            .flat_map(|at| [at, at, 1])
            .collect::<Vec<_>>()
            .into_iter()
            .map(Value::from)
            .collect::<Vec<_>>()
            .into(),
        &usage,
        "more amounts",
    );
    check("/counts/x", object! { "per_us": 1, "usage": array![] }, "/counts/x", "digest");
    let window = format!("/former/{id}");
    check(&window, array![], &window, "not pairs");
    check(&window, array![0, 5, 0, 5], &format!("{window}/2"), "not behind");
    check(
        &window,
        (0u64..1000).collect::<Vec<_>>().into_iter().map(Value::from).collect::<Vec<_>>().into(),
        &window,
        "more slices",
    );
    check("/open/0/1/0/0", "x".into(), "/open/0/1/0/0", "digest");
    check("/open/0/1/0/0", "0".repeat(64).into(), "/open/0/1/0", "no entry in");
    check("/open/0/1/0/2", "nonsense".into(), "/open/0/1/0/2", "not a dimension");
    check("/last", 0.into(), "/open/0/0", "not the number of an open");
}

/// root 0 ─ 1 ─ 2, and slot 3, which became free.
fn capabilities() -> (CapTable, [CapId; 3]) {
    let mut table = CapTable::default();
    let root = table.root().unwrap();
    let caveats = [
        Caveat::Uses(3),
        Caveat::Rate(ak_policy::Rate::new(2, 1_001).unwrap()),
        Caveat::Budget(Dimension::Tokens, 10),
    ];
    let child = table.derive(root, caveats.clone(), Elapsed::exactly(5)).unwrap();
    let grandchild = table.derive(child, caveats, Elapsed::exactly(6)).unwrap();
    let gone = table.derive(child, [], Elapsed::exactly(6)).unwrap();
    table.revoke(gone);
    (table, [root, child, grandchild])
}

#[test]
fn no_other_value_is_a_table_of_capabilities() {
    let (table, [root, child, grandchild]) = capabilities();
    let value = table.to_value();
    let check = |pointer, put, at, words| {
        refused(CapTable::from_value, &value, pointer, put, at, words);
    };
    check("/slots/0/generation", 0.into(), "/slots/0/generation", "begin at 1");
    check("/slots/0/generation", 2.into(), "/slots/1", "does not end at a root");
    check("/slots/0/held", Value::Null, "/slots/1", "does not end at a root");
    check("/slots/1/held/parent", Value::Null, "/slots/1", "a root has no caveats");
    check("/slots/1/held/parent", grandchild.to_u64().into(), "/slots/1", "too far from a root");
    check("/slots/1/held/parent", child.to_u64().into(), "/slots/1", "too far from a root");
    check("/slots/1/held/parent", (root.to_u64() + 3).into(), "/slots/1", "does not end at a root");
    check("/slots/1/held/uses_left", 4.into(), "/slots/1/held/uses_left", "not what the caveats");
    check("/slots/1/held/uses_left", Value::Null, "/slots/1/held/uses_left", "not what the caveats");
    check("/slots/0/held/uses_left", 1.into(), "/slots/0/held/uses_left", "not what the caveats");
    check("/slots/1/held/buckets", array![], "/slots/1/held/buckets", "not the rates");
    check("/slots/1/held/buckets/0/count", 3.into(), "/slots/1/held/buckets", "not the rates");
    check("/slots/1/held/ledger/accounts/tokens/set", 11.into(), "/slots/1/held/ledger", "not the budgets");
    check("/slots/1/held/buckets/0/owed", "9999".into(), "/slots/1/held/buckets", "more is owed");
    check(
        "/slots/1/held/ledger/accounts/tokens/policy",
        array![array![1, Value::Null, false]],
        "/slots/1/held/ledger",
        "not the budgets",
    );
    let tally = object! { "used": 1, "reserved": 0, "usage": array![] };
    let account = object! { "policy": array![], "set": Value::Null, "itself": tally, "below": Value::Null };
    check("/slots/1/held/ledger/accounts/cpu", account, "/slots/1/held/ledger", "not the budgets");
    check("/slots/1/held/own/0", "".into(), "/slots/1/held/own/0", "not a caveat");
    check("/slots/1/held/own/0", "FF".into(), "/slots/1/held/own/0", "not a caveat");
    let own = value.pointer(&"/slots/1/held/own/0".parse().unwrap()).unwrap().clone();
    check("/slots/1/held/own/1", own, "/slots/1/held/own/1", "not ascending");
    check("/free", array![], "/free", "neither held nor free");
    check("/free", array![3, 3], "/free", "free twice");
    check("/free", array![0], "/free/0", "became free");
    check("/free", array![4], "/free/0", "became free");
    check("/slots/3/generation", 1.into(), "/free/0", "became free");
}

#[test]
fn capabilities_are_bounded_also_in_a_value() {
    let slot = |parent: Option<u64>| {
        let held = object! {
            "parent": parent, "own": array![], "uses_left": Value::Null, "buckets": array![],
            "ledger": Ledger::default().to_value(),
        };
        object! { "generation": 1, "held": held }
    };
    let value = |slots: Vec<Value>| object! { "slots": slots, "free": array![] };
    // Each the child of the one before it.
    let line = |length: usize| {
        let parent = |at: usize| (at > 0).then(|| (1 << 32) + at as u64 - 1);
        value((0..length).map(|at| slot(parent(at))).collect())
    };
    assert!(CapTable::from_value(&line(DEPTH_MAX + 1)).is_ok());
    let error = CapTable::from_value(&line(DEPTH_MAX + 2)).unwrap_err();
    assert_eq!(error.reason, "too far from a root");
    let most = ak_policy::capability::CAPABILITIES_MAX;
    let full = CapTable::from_value(&value(vec![slot(None); most])).unwrap();
    assert_eq!(full.len(), most);
    let error = CapTable::from_value(&value(vec![slot(None); most + 1])).unwrap_err();
    assert_eq!(error.reason, "too many capabilities");
}

#[test]
fn a_slot_whose_generations_are_used_up_stays_so() {
    let (table, [_, _, grandchild]) = capabilities();
    let value = with(&table.to_value(), "/slots/2/generation", u32::MAX.into());
    let mut table = CapTable::from_value(&value).unwrap();
    let last = CapId::from_u64(u64::from(u32::MAX) << 32 | grandchild.to_u64() & 0xffff_ffff);
    assert_eq!(table.revoke(last), 1);
    let mut again = CapTable::from_value(&table.to_value()).unwrap();
    assert_eq!(again, table);
    for _ in 0..3 {
        let made = again.root().unwrap();
        assert_eq!(table.root(), Ok(made));
        assert!(made.to_u64() & 0xffff_ffff != 2);
    }
}

#[test]
fn a_claim_is_taken_up_where_it_is_open() {
    let (mut table, [root, child, grandchild]) = capabilities();
    let target = Target::tool("x").unwrap();
    let query = Query { elapsed: Elapsed::exactly(10), ..Query::new("main", Action::Execute, &target) };
    let amounts = [(Dimension::Tokens, 4)];
    let claim = table.spend(grandchild, &query, &[0; 16], &amounts).unwrap();
    let written = reread(&claim.to_value());
    assert_eq!(written, array![array![grandchild.to_u64(), 1], array![child.to_u64(), 1]]);
    let restored = CapTable::from_value(&table.to_value()).unwrap();
    assert_eq!(restored.reservation(&written).as_ref(), Ok(&claim));
    assert_eq!(restored.reservation(&array![]).unwrap().to_value(), array![]);

    let check = |value: Value, at: &str, words: &str| {
        let error = restored.reservation(&value).unwrap_err();
        assert_eq!((error.at.to_string().as_str(), error.reason.contains(words)), (at, true), "{error}");
        assert_eq!(error.table, "claim");
    };
    check(array![array![child.to_u64(), 2]], "/0/1", "not open");
    check(array![array![child.to_u64(), 1], array![grandchild.to_u64(), 1]], "/1/0", "not an ancestor");
    check(array![array![child.to_u64(), 1], array![child.to_u64(), 1]], "/1/0", "not an ancestor");
    check(array![array![root.to_u64() + 9, 1]], "/0/0", "no capability ever had");
    check(array![array![child.to_u64() + (1 << 32), 1]], "/0/0", "no capability ever had");
    check(Value::from(vec![array![child.to_u64(), 1]; DEPTH_MAX + 2]), "", "longer");
    check(object! {}, "", "not an array");

    // What was revoked since takes its part of the claim along.
    table.revoke(grandchild);
    let mut restored = CapTable::from_value(&table.to_value()).unwrap();
    let again = restored.reservation(&written).unwrap();
    assert_eq!(again, claim);
    table.settle(claim, &amounts);
    restored.settle(again, &amounts);
    assert_eq!(restored, table);
    assert_eq!(restored.reservation(&written).unwrap_err().reason, "not open");
}

#[test]
fn a_caveat_that_cannot_be_written_down_is_refused() {
    let mut table = CapTable::default();
    let root = table.root().unwrap();
    let targets = |count: usize| {
        let text = |at: usize| format!("/{at}{}", "a".repeat(8_000));
        Caveat::targets((0..count).map(|at| TargetPattern::parse(TargetKind::Path, &text(at)).unwrap()))
    };
    let most = CAVEAT_BYTES_MAX / 8_005;
    table.derive(root, [targets(most)], Elapsed::default()).unwrap();
    assert_eq!(table.derive(root, [targets(most + 1)], Elapsed::default()), Err(DeriveError::Caveats));
    assert_eq!(CapTable::from_value(&table.to_value()).as_ref(), Ok(&table));
}
