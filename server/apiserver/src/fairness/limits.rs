//! How many seats each priority level has: its share of the server's, and what it may borrow of seats that others do not
//! use. Pure.
//!
//! Upstream moves seats between levels every ten seconds, by what was asked for lately. Here a level borrows at the
//! moment it needs a seat, and only of seats that are idle: the same bounds (`lendablePercent`,
//! `borrowingLimitPercent`), without a clock.

use serde_json::Value;

use super::queues::Shape;
use crate::value::{at, meta, text};

/// What a PriorityLevelConfiguration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub name: String,
    pub uid: String,
    pub shares: u32,
    pub lendable_percent: u32,
    pub borrowing_percent: Option<u32>,
    pub kind: Kind,
}

/// What happens to a request that finds no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It needs none.
    Exempt,
    Reject,
    Queue(Shape),
}

impl Level {
    pub(super) fn parse(object: &Value) -> Self {
        let exempt = text(object, &["spec", "type"]) == "Exempt";
        let section = at(object, &["spec", if exempt { "exempt" } else { "limited" }]);
        let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        let queuing = at(section, &["limitResponse", "queuing"]);
        let size = |key: &str, default: usize| {
            at(queuing, &[key])
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| *n > 0)
                .unwrap_or(default)
        };
        let kind = match text(section, &["limitResponse", "type"]) {
            _ if exempt => Kind::Exempt,
            "Queue" => Kind::Queue(Shape {
                queues: size("queues", 64),
                hand: size("handSize", 8),
                length: size("queueLengthLimit", 50),
            }),
            _ => Kind::Reject,
        };
        Self {
            name: meta(object, "name").to_owned(),
            uid: meta(object, "uid").to_owned(),
            shares: number(at(section, &["nominalConcurrencyShares"])).unwrap_or(if exempt { 0 } else { 30 }),
            lendable_percent: number(at(section, &["lendablePercent"])).unwrap_or(0).min(100),
            borrowing_percent: number(at(section, &["borrowingLimitPercent"])),
            kind,
        }
    }
}

/// Seats of one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seats {
    /// Its own.
    pub nominal: u32,
    /// Of those, what others may use.
    pub lendable: u32,
    /// What it may use of others'.
    pub borrowing: u32,
    /// In use.
    pub used: u32,
}

/// Shares out `server` seats: `NominalCL(i) = ceil(ServerCL * NCS(i) / sum_ncs)`.
pub(super) fn seats(levels: &[Level], server: u32) -> Vec<Seats> {
    let sum: u64 = levels.iter().map(|level| u64::from(level.shares)).sum::<u64>().max(1);
    let percent = |of: u32, percent: u32| {
        let part = (u64::from(of) * u64::from(percent) + 50) / 100;
        u32::try_from(part).unwrap_or(u32::MAX)
    };
    let of = |level: &Level| {
        let nominal = (u64::from(server) * u64::from(level.shares)).div_ceil(sum);
        let nominal = u32::try_from(nominal).unwrap_or(u32::MAX);
        Seats {
            nominal,
            lendable: percent(nominal, level.lendable_percent),
            borrowing: level.borrowing_percent.map_or(server, |limit| percent(nominal, limit)),
            used: 0,
        }
    };
    levels.iter().map(of).collect()
}

/// Whether level `index` may use `wanted` more seats now.
pub(super) fn room(all: &[Seats], index: usize, wanted: u32) -> bool {
    let Some(own) = all.get(index) else { return false };
    let after = own.used + wanted;
    // one request always gets through an idle level, however many seats it wants
    if after <= own.nominal || own.used == 0 {
        return true;
    }
    let beyond = after - own.nominal;
    beyond <= own.borrowing && beyond <= spare(all, index)
}

/// The seats that others would lend level `index`, those that it has borrowed already included.
fn spare(all: &[Seats], index: usize) -> u32 {
    let others = || all.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, seats)| seats);
    let idle: u32 = others().map(|one| one.lendable.min(one.nominal.saturating_sub(one.used))).sum();
    let borrowed: u32 = others().map(|one| one.used.saturating_sub(one.nominal)).sum();
    idle.saturating_sub(borrowed)
}

/// The most seats that one request may want: upstream's `max_seats.go`, 15 % of its level.
pub(super) fn most(nominal: u32) -> u32 {
    (nominal * 15).div_ceil(100).clamp(1, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(name: &str, shares: u32, lendable: u32) -> Level {
        let kind = Kind::Reject;
        Level {
            name: name.into(),
            uid: String::new(),
            shares,
            lendable_percent: lendable,
            borrowing_percent: None,
            kind,
        }
    }

    #[test]
    fn seats_are_shared_out_by_shares() {
        let levels = [level("a", 30, 33), level("b", 70, 0), level("exempt", 0, 0)];
        let seats = seats(&levels, 600);
        let told: Vec<_> = seats.iter().map(|one| (one.nominal, one.lendable, one.borrowing)).collect();
        assert_eq!(told, [(180, 59, 600), (420, 0, 600), (0, 0, 600)]);
        let few = super::seats(&[level("a", 1, 0), level("b", 2, 0)], 10);
        assert_eq!((few[0].nominal, few[1].nominal), (4, 7));
    }

    #[test]
    fn idle_seats_are_lent_and_no_others() {
        let own = Seats { nominal: 2, lendable: 0, borrowing: 3, used: 2 };
        let lender = Seats { nominal: 10, lendable: 4, borrowing: 0, used: 0 };
        let cases = [
            (own, lender, 1, true),
            (own, lender, 3, true),
            (own, lender, 4, false),
            (own, Seats { used: 8, ..lender }, 2, true),
            (own, Seats { used: 8, ..lender }, 3, false),
            (own, Seats { used: 10, ..lender }, 1, false),
            (own, Seats { lendable: 0, ..lender }, 1, false),
            (Seats { used: 0, ..own }, Seats { used: 10, ..lender }, 2, true),
            (Seats { used: 0, ..own }, Seats { used: 10, ..lender }, 9, true),
            (Seats { used: 4, ..own }, lender, 1, true),
            (Seats { used: 5, ..own }, lender, 1, false),
        ];
        for (own, lender, wanted, may) in cases {
            assert_eq!(room(&[own, lender], 0, wanted), may, "{own:?} {lender:?} {wanted}");
        }
        assert_eq!((most(1), most(20), most(49), most(600)), (1, 3, 8, 10));
    }
}
