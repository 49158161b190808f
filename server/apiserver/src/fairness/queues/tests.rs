#![allow(clippy::unwrap_used)]
use super::*;
use std::collections::{BTreeMap, BTreeSet};

const SHAPE: Shape = Shape { queues: 64, hand: 6, length: 50 };
const MS: u64 = 1_000_000;

#[test]
fn hands_are_of_different_cards() {
    for hash in (0..10_000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
        let mut cards = Vec::new();
        deal(hash, 64, 6, |card| cards.push(card));
        let distinct: BTreeSet<_> = cards.iter().copied().collect();
        assert!(distinct.len() == 6 && cards.iter().all(|card| *card < 64), "{hash} {cards:?}");
    }
    let mut whole = Vec::new();
    deal(u64::MAX, 4, 9, |card| whole.push(card));
    whole.sort_unstable();
    assert_eq!(whole, [0, 1, 2, 3]);
}

#[test]
fn a_full_queue_takes_no_more() {
    let mut queues = Queues::new(Shape { queues: 1, hand: 1, length: 2 });
    let arrivals: Vec<Arrival> = (0..3).map(|id| queues.arrive(0, 1, 7, id, 1)).collect();
    assert_eq!(arrivals, [Arrival::Queued(0), Arrival::Queued(0), Arrival::Full]);
    assert!(queues.leave(0, 1, 0, 1) && !queues.leave(0, 1, 0, 1));
    assert_eq!(queues.arrive(0, 1, 7, 9, 1), Arrival::Queued(0));
    assert_eq!(queues.begin(0, 1, |_| true), Some((0, 0, 1)));
    assert_eq!(queues.begin(0, 1, |_| false), None);
    assert_eq!(queues.begin(0, 1, |_| true).map(|begun| begun.0), Some(9));
    assert_eq!((queues.begin(0, 1, |_| true), queues.waiting()), (None, 0));
}

/// Serves flows, each of which always has `depth` requests waiting, for a while; how many seats each got.
fn serve(flows: &[(u64, u32, u64, usize)], limit: u32, length: u64) -> BTreeMap<u64, u64> {
    let mut queues = Queues::new(SHAPE);
    let (mut now, mut next, mut free) = (0u64, 0u64, limit);
    let mut of: BTreeMap<Id, usize> = BTreeMap::new();
    let mut running: Vec<(u64, Id, usize, u32, u64)> = Vec::new();
    let mut served: BTreeMap<u64, u64> = BTreeMap::new();
    let mut waiting = vec![0usize; flows.len()];
    while now < length {
        for (i, (hash, seats, _, depth)) in flows.iter().enumerate() {
            while waiting[i] < *depth {
                next += 1;
                if queues.arrive(now, limit, *hash, next, *seats) == Arrival::Full {
                    break;
                }
                of.insert(next, i);
                waiting[i] += 1;
            }
        }
        while let Some((id, queue, seats)) = queues.begin(now, limit, |seats| seats <= free) {
            let flow = of.remove(&id).unwrap();
            waiting[flow] -= 1;
            free -= seats;
            running.push((now + flows[flow].2, id, queue, seats, now));
            *served.entry(flows[flow].0).or_default() += u64::from(seats) * flows[flow].2 / MS;
        }
        running.sort_unstable();
        let (end, _, queue, seats, began) = running.remove(0);
        now = end;
        free += seats;
        queues.end(now, limit, queue, seats, now - began);
    }
    served
}

#[test]
fn a_storm_of_one_flow_leaves_the_others_their_share() {
    // hash, seats, duration, depth; few queues are shared by these hashes
    let storm = (11, 1, 10 * MS, 40);
    for other in [(1_000_003, 1, 10 * MS, 4), (77_777_777, 1, 10 * MS, 4), (123_456_789, 1, 10 * MS, 4)] {
        let served = serve(&[storm, other], 4, 4000 * MS);
        let share = |hash: u64| served.get(&hash).copied().unwrap_or(0);
        // the storm fills up to six queues; the other has at least one of seven
        assert!(share(other.0) * 8 >= share(storm.0), "{served:?}");
    }
}

#[test]
fn seats_and_time_count_not_requests() {
    let hand = |hash| {
        let mut cards = Vec::new();
        deal(hash, SHAPE.queues, SHAPE.hand, |card| cards.push(card));
        cards
    };
    // flows whose hands do not meet
    let apart = |hash: &u64| !hand(*hash).iter().any(|card| hand(0).contains(card));
    let wide = (0, 4, 10 * MS, 3);
    let narrow =
        ((1..).map(|i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).find(apart).unwrap(), 1, 10 * MS, 12);
    let served = serve(&[wide, narrow], 8, 4000 * MS);
    let (a, b) = (served[&wide.0], served[&narrow.0]);
    assert!(a * 3 >= b && b * 3 >= a, "{served:?}");
}

#[test]
fn everything_that_came_is_served_or_refused_once() {
    let mut random = 88_172_645_463_325_252_u64;
    let mut step = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..200 {
        let mut queues = Queues::new(Shape { queues: 5, hand: 2, length: 3 });
        let (mut here, mut inside, mut now, mut came, mut gone) =
            (BTreeMap::new(), Vec::new(), 0, 0u64, 0u64);
        for _ in 0..300 {
            now += step() % 5_000_000;
            match step() % 4 {
                0 | 1 => {
                    came += 1;
                    match queues.arrive(now, 3, step(), came, 1 + (step() % 3) as u32) {
                        Arrival::Queued(queue) => drop(here.insert(came, queue)),
                        Arrival::Full => gone += 1,
                    }
                }
                2 => {
                    let free = 6u32.saturating_sub(inside.iter().map(|(_, seats, _)| *seats).sum());
                    if let Some((id, queue, seats)) = queues.begin(now, 3, |seats| seats <= free) {
                        assert_eq!(here.remove(&id), Some(queue));
                        inside.push((queue, seats, now));
                    }
                }
                _ if step() % 2 == 0 => {
                    if let Some((queue, seats, began)) = inside.pop() {
                        queues.end(now, 3, queue, seats, now - began);
                        gone += 1;
                    }
                }
                _ => {
                    if let Some((id, queue)) = here.pop_first() {
                        assert!(queues.leave(now, 3, queue, id));
                        gone += 1;
                    }
                }
            }
            assert_eq!(queues.waiting(), here.len());
            assert_eq!(came, gone + here.len() as u64 + inside.len() as u64);
            let seats: u32 = inside.iter().map(|(_, seats, _)| *seats).sum();
            assert_eq!(queues.executing_seats, seats);
            assert_eq!(queues.busy as usize, queues.queues.iter().filter(|queue| queue.busy()).count());
        }
    }
}
