//! A tree of a pattern as a table: a state and a letter give the next state.
//!
//! The tree becomes steps, and a state is the set of steps that may come next (Thompson's and Rabin and Scott's
//! constructions). Whether something is found is all that is asked, so the state in which it was found is the last.
//!
//! A pattern that would be too large a table, or asks for more than start and end of the text, is walked through step by
//! step: slower, with no table at all.

use std::collections::HashMap;

use super::syntax::{Node, Place, Range, is_word};

/// Steps of a pattern that becomes a table.
const STEPS: usize = 500;
/// Steps of any pattern; one with more is refused.
const MOST_STEPS: usize = 20_000;
/// States of a table.
const STATES: usize = 256;
/// Classes of letters. All three bound what a key costs whose pattern is large after all.
const CLASSES: usize = 64;
/// The state in which it was found.
const FOUND: u16 = 0;
/// The state before the first letter.
const FIRST: u16 = 1;

/// See the module.
#[derive(Clone, Debug)]
pub struct Automaton {
    /// The first letter of each class of letters; all of a class lead to the same.
    classes: Vec<u32>,
    /// The class of each ASCII letter.
    ascii: Vec<u8>,
    /// For each state and class the next state.
    next: Vec<u16>,
    /// The states in which it is found if the text ends.
    at_end: Vec<bool>,
}

/// A pattern, step by step.
#[derive(Clone, Debug)]
pub struct Steps {
    steps: Vec<Step>,
    first: usize,
}

/// What is around a place in a text.
#[derive(Clone, Copy, Default)]
struct Around {
    before: Option<char>,
    after: Option<char>,
}

impl Around {
    fn is(self, place: Place) -> bool {
        let word = |letter: Option<char>| letter.is_some_and(is_word);
        match place {
            Place::Start => self.before.is_none(),
            Place::End => self.after.is_none(),
            Place::LineStart => matches!(self.before, None | Some('\n')),
            Place::LineEnd => matches!(self.after, None | Some('\n')),
            Place::Edge => word(self.before) != word(self.after),
            Place::NoEdge => word(self.before) == word(self.after),
        }
    }
}

impl Steps {
    /// Of a tree; none if they would be too many.
    pub fn new(node: &Node) -> Option<Self> {
        let mut steps = vec![Step::Found];
        let first = compile(node, 0, &mut steps)?;
        Some(Self { steps, first })
    }

    /// Whether it is found in a text.
    pub fn is_match(&self, text: &str) -> bool {
        let (mut letters, mut before, mut set) = (text.chars(), None, Vec::new());
        loop {
            let after = letters.next();
            // what is searched may begin anywhere
            set.push(self.first);
            let around = Around { before, after };
            let now = closure(&self.steps, &set, |place| around.is(place));
            if now.contains(&0) {
                return true;
            }
            let Some(letter) = after else { return false };
            set = now.iter().filter_map(|at| self.steps[*at].after(letter as u32)).collect();
            before = after;
        }
    }
}

/// One step on the way.
#[derive(Clone, Debug)]
enum Step {
    /// Here it is.
    Found,
    /// A letter, then another step.
    Letter(Vec<Range>, usize),
    /// Any of these.
    Split(Vec<usize>),
    /// If this is such a place.
    At(Place, usize),
}

impl Step {
    /// Where a letter leads.
    fn after(&self, letter: u32) -> Option<usize> {
        match self {
            Self::Letter(ranges, next) if ranges.iter().any(|(from, to)| (*from..=*to).contains(&letter)) => {
                Some(*next)
            }
            _ => None,
        }
    }
}

impl Automaton {
    /// Of a pattern's steps; none if it would be too large, or no table.
    pub fn new(Steps { steps, first }: &Steps) -> Option<Self> {
        let first = *first;
        let other =
            |step: &Step| matches!(step, Step::At(place, _) if !matches!(place, Place::Start | Place::End));
        if steps.len() > STEPS || steps.iter().any(other) {
            return None;
        }
        let classes = classes(steps)?;
        let class = |letter: u32| classes.partition_point(|first| *first <= letter) - 1;
        let ascii = (0..128).map(|letter| class(letter) as u8).collect();
        let mut table = Table { steps, first, known: HashMap::new(), sets: Vec::new() };
        // the state of what was found stays
        table.sets.push(Vec::new());
        let mut at_end = vec![true];
        let (mut next, mut at) = (vec![FOUND; classes.len()], usize::from(FIRST));
        if table.state(vec![first], true)? == FOUND {
            // found before the first letter
            table.sets.push(vec![0]);
        }
        while at < table.sets.len() {
            let set = table.sets[at].clone();
            at_end.push(closure(steps, &set, ends(at == usize::from(FIRST), true)).contains(&0));
            for letter in &classes {
                next.push(table.after(&set, *letter)?);
            }
            at += 1;
        }
        Some(Self { classes, ascii, next, at_end })
    }

    /// Whether it is found in a text.
    pub fn is_match(&self, text: &str) -> bool {
        let mut state = FIRST;
        let step = |state: u16, class: usize| self.next[usize::from(state) * self.classes.len() + class];
        for letter in text.chars() {
            let class = match letter.is_ascii() {
                true => usize::from(self.ascii[letter as usize]),
                false => self.classes.partition_point(|first| *first <= letter as u32) - 1,
            };
            state = step(state, class);
            if state == FOUND {
                return true;
            }
        }
        self.at_end[usize::from(state)]
    }
}

/// The step at which `node` begins, when `then` comes after it.
fn compile(node: &Node, then: usize, steps: &mut Vec<Step>) -> Option<usize> {
    let step = match node {
        Node::Letter(ranges) => Step::Letter(ranges.clone(), then),
        Node::At(place) => Step::At(*place, then),
        Node::All(all) => return all.iter().rev().try_fold(then, |then, node| compile(node, then, steps)),
        Node::Any(any) => {
            let any = any.iter().map(|node| compile(node, then, steps));
            Step::Split(any.collect::<Option<_>>()?)
        }
        Node::Repeat(node, least, most) => {
            let mut begin = then;
            match most {
                None => {
                    begin = steps.len();
                    steps.push(Step::Split(Vec::new()));
                    let body = compile(node, begin, steps)?;
                    steps[begin] = Step::Split(vec![body, then]);
                }
                Some(most) => {
                    for _ in *least..*most {
                        let body = compile(node, begin, steps)?;
                        if body == begin {
                            return Some(begin);
                        }
                        steps.push(Step::Split(vec![body, then]));
                        begin = steps.len() - 1;
                    }
                }
            }
            for _ in 0..*least {
                let body = compile(node, begin, steps)?;
                if body == begin {
                    // nothing, however often
                    break;
                }
                begin = body;
            }
            return Some(begin);
        }
    };
    steps.push(step);
    (steps.len() <= MOST_STEPS).then(|| steps.len() - 1)
}

/// Where letters begin to lead elsewhere than those before.
fn classes(steps: &[Step]) -> Option<Vec<u32>> {
    let mut cuts = vec![0];
    for step in steps {
        if let Step::Letter(ranges, _) = step {
            cuts.extend(ranges.iter().flat_map(|(from, to)| [*from, to + 1]));
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    (cuts.len() <= CLASSES).then_some(cuts)
}

/// At which ends of the text this is; only these are asked for in a table.
fn ends(at_start: bool, at_end: bool) -> impl Fn(Place) -> bool {
    move |place| if place == Place::Start { at_start } else { at_end }
}

/// The steps that wait for a letter or a place, or have found, from `from` on without a letter.
fn closure(steps: &[Step], from: &[usize], is: impl Fn(Place) -> bool) -> Vec<usize> {
    let (mut seen, mut left, mut found) = (vec![false; steps.len()], from.to_vec(), Vec::new());
    while let Some(at) = left.pop() {
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        match &steps[at] {
            Step::Split(any) => left.extend(any),
            Step::At(place, then) if is(*place) => left.push(*then),
            // the end may come later, the start may not
            Step::At(Place::Start, _) => {}
            Step::At(..) | Step::Letter(..) | Step::Found => found.push(at),
        }
    }
    found.sort_unstable();
    found
}

/// The table while it grows.
struct Table<'a> {
    steps: &'a [Step],
    first: usize,
    known: HashMap<Vec<usize>, u16>,
    sets: Vec<Vec<usize>>,
}

impl Table<'_> {
    /// The state of these steps and what follows them without a letter.
    fn state(&mut self, from: Vec<usize>, at_start: bool) -> Option<u16> {
        let set = closure(self.steps, &from, ends(at_start, false));
        if set.contains(&0) {
            return Some(FOUND);
        }
        // the first state alone knows that the text began
        if let (Some(known), false) = (self.known.get(&set), at_start) {
            return Some(*known);
        }
        let state = u16::try_from(self.sets.len()).ok().filter(|state| usize::from(*state) < STATES)?;
        if !at_start {
            self.known.insert(set.clone(), state);
        }
        self.sets.push(set);
        Some(state)
    }

    /// Where a letter leads; what is searched may begin behind it, too.
    fn after(&mut self, set: &[usize], letter: u32) -> Option<u16> {
        if set.contains(&0) {
            return Some(FOUND);
        }
        let mut then = vec![self.first];
        then.extend(set.iter().filter_map(|at| self.steps[*at].after(letter)));
        self.state(then, false)
    }
}
