//! Random damage to valid objects, reproducible from a seed.

use serde_json::{Map, Value, json};

/// splitmix64: good enough to pick, and the same on every machine.
pub struct Random(pub u64);

impl Random {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit.max(1) as u64).unwrap_or(0)
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }
}

/// A damaged copy as JSON bytes: one to three changes of values, sometimes of the text itself.
pub fn mutate(object: &Value, random: &mut Random) -> Vec<u8> {
    let mut value = object.clone();
    for _ in 0..=random.below(3) {
        change(&mut value, random);
    }
    let mut bytes = value.to_string().into_bytes();
    match random.below(8) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 => {
            let at = random.below(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(random.below(256)).unwrap_or(0);
            }
        }
        2 => {
            let (at, from) = (random.below(bytes.len()), random.below(bytes.len()));
            let piece: Vec<u8> = bytes.iter().skip(from).take(20).copied().collect();
            bytes.splice(at..at, piece);
        }
        _ => {}
    }
    bytes
}

/// Walks down to a random place and damages it.
fn change(value: &mut Value, random: &mut Random) {
    let deeper = random.below(6) > 0;
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let keys: Vec<String> = map.keys().cloned().collect();
            let Some(key) = random.pick(&keys).cloned() else { return };
            match random.below(10) {
                0 => drop(map.shift_remove(&key)),
                1 => {
                    let moved = map.shift_remove(&key).unwrap_or_default();
                    map.insert(strange(random).to_string(), moved);
                }
                _ => change(map.get_mut(&key).unwrap_or(&mut Value::Null), random),
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let at = random.below(list.len());
            match random.below(6) {
                0 => drop(list.remove(at)),
                1 => list.push(list.get(at).cloned().unwrap_or_default()),
                _ => change(list.get_mut(at).unwrap_or(&mut Value::Null), random),
            }
        }
        place => *place = strange(random),
    }
}

/// Values that no field expects, and some that many do.
fn strange(random: &mut Random) -> Value {
    let long = "x".repeat(random.below(300));
    let nested = (0..random.below(200)).fold(Value::Null, |inner, _| json!([inner]));
    let values = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e300),
        json!(-0.5),
        json!(""),
        json!(long),
        json!("Ünïcødé \u{0}\u{7f}\u{202e}"),
        json!("../../etc/passwd"),
        json!("a/b/c"),
        json!("99999999999999999999Ei"),
        json!("-1m"),
        json!("2020-13-45T99:00:00Z"),
        json!("%"),
        json!("{{}}"),
        json!([]),
        json!({}),
        json!([null]),
        json!([{}, 1, "a"]),
        json!({"": ""}),
        json!({"name": "a", "key": "b", "kind": 1}),
        Value::Object(Map::from_iter([("$patch".to_owned(), json!("delete"))])),
        json!({"$setElementOrder/containers": [1], "$retainKeys": ["a"], "$deleteFromPrimitiveList/x": 3}),
        nested,
    ];
    random.pick(&values).cloned().unwrap_or_default()
}
