//! What must be true of a table, read off its value.

use std::collections::BTreeMap;

use ak_json::Value;
use ak_policy::capability::DEPTH_MAX;

fn at<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap()
}

fn items(value: &Value) -> Vec<&Value> {
    value.as_array().unwrap().iter().collect()
}

fn number(value: &Value) -> u128 {
    value.as_u64().unwrap().into()
}

/// Not older than its grant, whose bounds are in order.
pub(super) fn grants(table: &Value) -> bool {
    table.as_object().unwrap().values().all(|entry| {
        let (bucket, loaded) = (at(entry, "bucket"), items(at(entry, "first_loaded")));
        number(loaded[0]) <= number(loaded[1])
            && (bucket.is_null() || number(items(at(bucket, "at"))[0]) >= number(loaded[0]))
    })
}

/// What is reserved is the sum of the open reservations.
pub(super) fn ledger(table: &Value) -> bool {
    let mut claimed: BTreeMap<(&str, &str), u128> = BTreeMap::new();
    for open in items(at(table, "reservations")) {
        let open = items(open);
        for amount in items(open[2]) {
            let amount = items(amount);
            let key = (open[1].as_str().unwrap(), amount[0].as_str().unwrap());
            *claimed.entry(key).or_default() += number(amount[1]);
        }
    }
    claimed.retain(|_, amount| *amount > 0);
    let mut reserved = BTreeMap::new();
    for (name, account) in at(table, "accounts").as_object().unwrap().iter() {
        for spender in ["itself", "below"] {
            let tally = at(account, spender);
            if let Some(amount) = tally.get("reserved").map(number).filter(|amount| *amount > 0) {
                reserved.insert((spender, name.as_str()), amount);
            }
        }
    }
    reserved == claimed
}

/// What is reserved is of limits that are kept count of.
pub(super) fn limits(table: &Value) -> bool {
    let counts = at(table, "counts");
    let shares = items(at(table, "open")).into_iter().flat_map(|open| items(items(open)[1]));
    shares.into_iter().all(|share| counts.get(items(share)[0].as_str().unwrap()).is_some())
}

/// Every line ends at a root after some steps; what is not held is free once, or never used again.
pub(super) fn capabilities(table: &Value) -> bool {
    let (slots, free) = (items(at(table, "slots")), items(at(table, "free")));
    let ends = |slot: usize| {
        let mut held = at(slots[slot], "held");
        for _ in 0..=DEPTH_MAX {
            let Some(parent) = at(held, "parent").as_u64() else { return true };
            let slot = slots[(parent & 0xffff_ffff) as usize];
            held = at(slot, "held");
            if held.is_null() || at(slot, "generation").as_u64() != Some(parent >> 32) {
                return false;
            }
        }
        false
    };
    (0..slots.len()).all(|index| {
        let held = at(slots[index], "held");
        let times_free = free.iter().filter(|free| number(free) == index as u128).count();
        match held {
            Value::Null => {
                times_free == 1
                    || times_free == 0 && number(at(slots[index], "generation")) == u128::from(u32::MAX)
            }
            held => times_free == 0 && ends(index) && ledger(at(held, "ledger")),
        }
    })
}
