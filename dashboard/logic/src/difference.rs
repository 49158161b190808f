//! What differs between two texts, line by line (Myers' O(ND), with a bound: texts that differ in more lines are shown as
//! taken away and put in whole).

/// A line of the difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Same(String),
    Gone(String),
    New(String),
}

const BOUND: usize = 2_000;

pub fn lines(old: &str, new: &str) -> Vec<Line> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    match paths(&old, &new) {
        Some(trace) => walk(&old, &new, &trace),
        None => {
            let gone = old.iter().map(|line| Line::Gone((*line).to_owned()));
            gone.chain(new.iter().map(|line| Line::New((*line).to_owned()))).collect()
        }
    }
}

/// For each number of changes, how far each diagonal reached.
fn paths(old: &[&str], new: &[&str]) -> Option<Vec<Vec<isize>>> {
    let (n, m) = (old.len() as isize, new.len() as isize);
    let bound = (old.len() + new.len()).min(BOUND) as isize;
    let middle = bound + 1;
    let mut reach = vec![0isize; 2 * bound as usize + 3];
    let mut trace = Vec::new();
    for changes in 0..=bound {
        trace.push(reach.clone());
        for diagonal in (-changes..=changes).step_by(2) {
            let (below, above) =
                (reach[(middle + diagonal - 1) as usize], reach[(middle + diagonal + 1) as usize]);
            let down = diagonal == -changes || (diagonal != changes && below < above);
            let mut x = if down { above } else { below + 1 };
            let mut y = x - diagonal;
            while x < n && y < m && old[x as usize] == new[y as usize] {
                (x, y) = (x + 1, y + 1);
            }
            reach[(middle + diagonal) as usize] = x;
            if x >= n && y >= m {
                return Some(trace);
            }
        }
    }
    None
}

fn walk(old: &[&str], new: &[&str], trace: &[Vec<isize>]) -> Vec<Line> {
    let (mut x, mut y) = (old.len() as isize, new.len() as isize);
    let mut lines = Vec::new();
    for (changes, reach) in trace.iter().enumerate().rev() {
        let (changes, middle) = (changes as isize, (reach.len() as isize - 1) / 2);
        let diagonal = x - y;
        let (below, above) =
            (reach[(middle + diagonal - 1) as usize], reach[(middle + diagonal + 1) as usize]);
        let down = diagonal == -changes || (diagonal != changes && below < above);
        let before = if down { diagonal + 1 } else { diagonal - 1 };
        let (from_x, from_y) = match changes {
            0 => (0, 0),
            _ => (reach[(middle + before) as usize], reach[(middle + before) as usize] - before),
        };
        while x > from_x && y > from_y {
            (x, y) = (x - 1, y - 1);
            lines.push(Line::Same(old[x as usize].to_owned()));
        }
        if changes > 0 && down {
            y -= 1;
            lines.push(Line::New(new[y as usize].to_owned()));
        } else if changes > 0 {
            x -= 1;
            lines.push(Line::Gone(old[x as usize].to_owned()));
        }
    }
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(old: &str, new: &str) -> String {
        let mark = |line: Line| match line {
            Line::Same(text) => format!(" {text}"),
            Line::Gone(text) => format!("-{text}"),
            Line::New(text) => format!("+{text}"),
        };
        lines(&old.replace(' ', "\n"), &new.replace(' ', "\n"))
            .into_iter()
            .map(mark)
            .collect::<Vec<_>>()
            .join("")
    }

    #[test]
    fn differences_are_the_shortest() {
        for (old, new, wanted) in [
            ("a b c", "a b c", " a b c"),
            ("a b c", "a c", " a-b c"),
            ("a c", "a b c", " a+b c"),
            ("a b c", "a x c", " a-b+x c"),
            ("", "a", "+a"),
            ("a", "", "-a"),
            ("", "", ""),
            ("a b c a b b a", "c b a b a c", "-a-b c+b a b-b a+c"),
        ] {
            assert_eq!(short(old, new), wanted, "{old} | {new}");
        }
    }
}
