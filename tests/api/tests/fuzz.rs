//! The fuzz targets of `tests/fuzz`, for a few seconds each and without libFuzzer: damaged copies of valid bodies, and bytes
//! that are none, reproducible from a seed. `make fuzz` searches for as long as it is told.
#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use sampan_api::{kinds, proto};
use sampan_test_api::{Random, mutate, seeds};
use sampan_testkit::length;
use serde_json::Value;

#[allow(dead_code, unused_imports)]
#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

/// How long a target runs.
const TIME: Duration = Duration::from_secs(3);

const TEXTS: [&str; 8] = [
    "a=b,c!=d,e in (f,g),h notin (i),j,!k",
    "x in (),y>3,z<4",
    "metadata.name=a,spec.nodeName!=b\\,c",
    "1.5Gi",
    "-100m",
    "9223372036854775807",
    "1e3",
    "0.000000001",
];

/// A valid input of each: what is damaged.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let known: Vec<_> =
        kinds::all().iter().filter(|kind| sampan_api::fields::type_of(kind.schema).is_some()).collect();
    let of_kind = |object: &Value| {
        let (group, version) = sampan_api::meta::group_version(sampan_api::meta::api_version(object));
        let kind = kinds::by_kind(group, version, sampan_api::meta::kind(object))?;
        let at = known.iter().position(|one| one.schema == kind.schema)?;
        // the first byte picks the kind
        Some((u8::try_from(at).ok()?, kind))
    };
    let bodies = seeds().into_iter().filter_map(|seed| Some((of_kind(&seed.object)?, seed.object)));
    let bodies = bodies.map(|((first, kind), object)| {
        let body = match target {
            "protobuf" => {
                let text = object.to_string();
                proto::encode(text.as_bytes(), kind.schema, &kind.api_version(), kind.kind).unwrap()
            }
            "yaml" => serde_yaml_ng::to_string(&object).unwrap().into_bytes(),
            _ => object.to_string().into_bytes(),
        };
        [vec![first], body].concat()
    });
    match target {
        "selector" | "quantity" => TEXTS.iter().map(|text| text.as_bytes().to_vec()).collect(),
        _ => bodies.collect(),
    }
}

/// Some damage to bytes.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let byte = u8::try_from(random.below(256)).unwrap();
        match random.below(5) {
            0 => bytes.insert(at, byte),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            3 => {
                let (from, length) = (random.below(bytes.len()), random.below(16));
                let piece: Vec<u8> = bytes.iter().skip(from).take(length).copied().collect();
                bytes.splice(at..at, piece);
            }
            _ => bytes.get_mut(at).into_iter().for_each(|place| *place = byte),
        }
    }
}

fn input(target: &str, corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let objects = matches!(target, "json" | "yaml");
    let built = matches!(target, "strategic" | "apply");
    if built {
        return (0..random.below(400)).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
    }
    let mut bytes = corpus[random.below(corpus.len())].clone();
    match serde_json::from_slice::<Value>(bytes.get(1..).unwrap_or_default()) {
        Ok(object) if objects && random.below(2) == 0 => {
            bytes.truncate(1);
            bytes.extend(mutate(&object, random));
        }
        _ => damage(&mut bytes, random),
    }
    bytes
}

fn hold(target: &str, run: fn(&[u8])) {
    let corpus = corpus(target);
    for bytes in &corpus {
        run(bytes);
    }
    let began = Instant::now();
    let mut count = 0_u64;
    while began.elapsed() < TIME * length() {
        let bytes = input(target, &corpus, &mut Random(count));
        if catch_unwind(AssertUnwindSafe(|| run(&bytes))).is_err() {
            panic!("{target}, seed {count}: {}", bytes.escape_ascii());
        }
        count += 1;
    }
    println!("{target}: {count} inputs");
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(
            #[test]
            fn $name() {
                hold(stringify!($name), targets::$name);
            }
        )*
    };
}

targets!(json, yaml, protobuf, selector, quantity, strategic, apply);
