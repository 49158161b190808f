//! Ages as kubectl writes them (`apimachinery/pkg/util/duration`, `HumanDuration`). Units stay English in every language.

/// The age of `seconds`: `45s`, `3m12s`, `5h3m`, `3d5h`, `45d`, `2y`.
///
/// # Examples
/// ```
/// assert_eq!(sampan_view::age::text(3 * 60 + 12), "3m12s");
/// ```
pub fn text(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let pair = |large: i64, unit: &str, small: i64, rest: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{rest}"),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 192 => pair(days, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => pair(years, "y", days % 365, "d"),
        () => format!("{years}y"),
    }
}

/// In how many seconds [`text`] of an age changes next: a timer need not look sooner.
pub fn next_change(seconds: i64) -> i64 {
    let seconds = seconds.max(0);
    let until = |unit: i64| unit - seconds % unit;
    match seconds {
        ..600 => 1,
        600..28_800 => until(60),
        28_800..691_200 => until(3600),
        _ => until(86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_kubectls() {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        for (seconds, age) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (3 * MINUTE + 12, "3m12s"),
            (10 * MINUTE + 5, "10m"),
            (179 * MINUTE, "179m"),
            (180 * MINUTE, "3h"),
            (5 * HOUR + 3 * MINUTE, "5h3m"),
            (47 * HOUR, "47h"),
            (2 * DAY, "2d"),
            (3 * DAY + 5 * HOUR, "3d5h"),
            (8 * DAY, "8d"),
            (729 * DAY, "729d"),
            (2 * 365 * DAY, "2y"),
            (2 * 365 * DAY + 4 * DAY, "2y4d"),
            (9 * 365 * DAY + 4 * DAY, "9y"),
        ] {
            assert_eq!(text(seconds), age, "{seconds}");
        }
    }

    #[test]
    fn nothing_changes_before_it_is_said_to() {
        for start in [0, 5, 599, 600, 659, 10_799, 28_799, 28_800, 700_000, 70_000_000] {
            let change = next_change(start);
            assert!((1..=86_400).contains(&change));
            let still = |later: i64| text(start + later) == text(start);
            assert!((1..change).all(still), "{start}");
        }
    }
}
