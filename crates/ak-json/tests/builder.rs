//! An object made in one go is the one made member by member, whatever the names.

use ak_json::{Object, Value};
use proptest::prelude::*;

proptest! {
    #[test]
    fn all_at_once_or_one_by_one(members in proptest::collection::vec(("[a-d]{0,2}|[a-z]{3,30}", any::<i64>()), 0..100)) {
        let at_once: Object = members.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let mut one_by_one = Object::new();
        for (name, value) in &members {
            one_by_one.insert(name.as_str(), *value);
        }
        let (at_once, one_by_one) = (Value::from(at_once), Value::from(one_by_one));
        prop_assert_eq!(at_once.to_json(), one_by_one.to_json());
        prop_assert_eq!(at_once.digest(), one_by_one.digest());
    }
}
