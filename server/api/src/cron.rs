//! Cron schedules as upstream reads them (github.com/robfig/cron `parser.go`, `spec.go`): five fields, names of
//! months and days, ranges and steps, `@daily` and its like, `@every 1h30m`.
//!
//! Times are looked for on the clock of a time zone. As upstream: what falls into the hour that a clock skips is
//! not run that day, what falls into the hour that comes twice is run twice.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};

/// How many years ahead a time is looked for: some schedules, such as 30 February, have none.
const YEARS: i16 = 5;

/// The values of one field that fit, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// Written as `*` or `?`.
    any: bool,
}

impl Field {
    fn has(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| self.bits >> value & 1 == 1)
    }
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Times of the clock.
    Clock(Clock),
    /// A constant pause.
    Every(Duration),
}

/// Minute, hour, day of month, month, day of week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The least and the largest value of a field, and the names of its values from the least on.
struct Bounds(u32, u32, &'static [&'static str]);

const MINUTE: Bounds = Bounds(0, 59, &[]);
const HOUR: Bounds = Bounds(0, 23, &[]);
const DAY: Bounds = Bounds(1, 31, &[]);
const MONTH: Bounds = Bounds(1, 12, &MONTHS);
const WEEKDAY: Bounds = Bounds(0, 6, &WEEKDAYS);

impl Schedule {
    /// Reads a schedule; the error is upstream's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        if let Some(descriptor) = text.strip_prefix('@') {
            return described(descriptor);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
        };
        Ok(Self::Clock(Clock {
            minute: field(minute, &MINUTE)?,
            hour: field(hour, &HOUR)?,
            day: field(day, &DAY)?,
            month: field(month, &MONTH)?,
            weekday: field(weekday, &WEEKDAY)?,
        }))
    }

    /// The first time after `after`; `None` if there is none within five years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(pause) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                whole.checked_add(*pause).ok()
            }
            Self::Clock(clock) => clock.next(after, zone),
        }
    }
}

impl Clock {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut at = minute_after(&after.to_zoned(zone.clone()))?;
        let limit = at.year() + YEARS;
        while at.year() <= limit {
            if !self.month.has(at.month()) {
                at = midnight(&at, Span::new().months(1), 1)?;
            } else if !self.is_day(&at) {
                at = midnight(&at, Span::new().days(1), 0)?;
            } else if !self.hour.has(at.hour()) {
                let left = SignedDuration::from_mins(60 - i64::from(at.minute()));
                at = at.checked_add(left).ok()?;
            } else if !self.minute.has(at.minute()) {
                at = at.checked_add(SignedDuration::from_mins(1)).ok()?;
            } else {
                return Some(at.timestamp());
            }
        }
        None
    }

    /// Both fields of the day must fit if one of them is `*`, else either.
    fn is_day(&self, at: &Zoned) -> bool {
        let (day, weekday) = (self.day.has(at.day()), self.weekday.has(at.weekday().to_sunday_zero_offset()));
        if self.day.any || self.weekday.any { day && weekday } else { day || weekday }
    }
}

fn minute_after(at: &Zoned) -> Option<Zoned> {
    let seconds = SignedDuration::from_secs(60 - i64::from(at.second()));
    let nanos = SignedDuration::from_nanos(i64::from(at.subsec_nanosecond()));
    at.checked_add(seconds).ok()?.checked_sub(nanos).ok()
}

/// The day's first moment after a step; `first` is 1 if the step ends on the first of its month.
fn midnight(at: &Zoned, step: Span, first: i8) -> Option<Zoned> {
    let mut date = at.date();
    if first == 1 {
        date = date.first_of_month();
    }
    date.checked_add(step).ok()?.to_zoned(at.time_zone().clone()).ok()
}

fn described(descriptor: &str) -> Result<Schedule, String> {
    let text = match descriptor {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        other => match other.strip_prefix("every ") {
            Some(pause) => return every(pause),
            None => return Err(format!("unrecognized descriptor: @{other}")),
        },
    };
    Schedule::parse(text)
}

/// A pause in Go's notation, in whole seconds and at least one.
fn every(text: &str) -> Result<Schedule, String> {
    let failed = || format!("failed to parse duration @every {text}: time: invalid duration \"{text}\"");
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(failed)?;
        let number: f64 = rest[..digits].parse().map_err(|_| failed())?;
        let unit =
            rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |n| n + digits);
        total += number
            * match &rest[digits..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(failed()),
            };
        rest = &rest[unit..];
    }
    let seconds = Duration::try_from_secs_f64(total).map_err(|_| failed())?.as_secs();
    Ok(Schedule::Every(Duration::from_secs(seconds.max(1))))
}

fn field(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let mut field = Field { bits: 0, any: false };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let one = range(part, bounds)?;
        field.bits |= one.bits;
        field.any |= one.any;
    }
    Ok(field)
}

/// `*`, `n`, `n-m`, each with or without `/step`; `n/step` means from n on.
fn range(text: &str, bounds: &Bounds) -> Result<Field, String> {
    let Bounds(least, largest, _) = *bounds;
    let (ends, step) = match text.split_once('/') {
        None => (text, None),
        Some((_, step)) if step.contains('/') => return Err(format!("too many slashes: {text}")),
        Some((ends, step)) => (ends, Some(number(step)?)),
    };
    let star = matches!(ends, "*" | "?");
    let (first, last) = match ends.split_once('-') {
        _ if star => (least, largest),
        Some((_, last)) if last.contains('-') => return Err(format!("too many hyphens: {text}")),
        Some((first, last)) => (value(first, bounds)?, value(last, bounds)?),
        None => {
            let first = value(ends, bounds)?;
            (first, if step.is_some() { largest } else { first })
        }
    };
    let step = step.unwrap_or(1);
    if first < least {
        return Err(format!("beginning of range ({first}) below minimum ({least}): {text}"));
    }
    if last > largest {
        return Err(format!("end of range ({last}) above maximum ({largest}): {text}"));
    }
    if first > last {
        return Err(format!("beginning of range ({first}) beyond end of range ({last}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let bits = (first..=last).step_by(step as usize).fold(0, |bits, value| bits | 1 << value);
    Ok(Field { bits, any: star && step == 1 })
}

/// A number, or a name of the field.
fn value(text: &str, Bounds(least, _, names): &Bounds) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    let named = (*least..).zip(*names).find(|(_, name)| **name == lower);
    named.map_or_else(|| number(text), |(value, _)| Ok(value))
}

fn number(text: &str) -> Result<u32, String> {
    let failed =
        || format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax");
    let number: i64 = text.parse().map_err(|_| failed())?;
    u32::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn next(schedule: &str, after: &str, zone: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let at = Schedule::parse(schedule).unwrap().next(after.parse().unwrap(), &zone);
        at.map_or_else(|| "never".to_owned(), |at| at.to_string())
    }

    #[test]
    fn times() {
        let cases = [
            ("* * * * *", "2026-01-01T00:00:30.5Z", "UTC", "2026-01-01T00:01:00Z"),
            ("* * * * *", "2026-01-01T00:01:00Z", "UTC", "2026-01-01T00:02:00Z"),
            ("*/15 * * * *", "2026-01-01T00:46:00Z", "UTC", "2026-01-01T01:00:00Z"),
            ("30 6-16/4 * * 1-5", "2026-01-02T14:30:00Z", "UTC", "2026-01-05T06:30:00Z"),
            ("0 0 1 jan *", "2026-01-01T00:00:00Z", "UTC", "2027-01-01T00:00:00Z"),
            ("0 0 13 * FRI", "2026-02-01T00:00:00Z", "UTC", "2026-02-06T00:00:00Z"),
            ("0 0 */2 * mon", "2026-02-01T12:00:00Z", "UTC", "2026-02-02T00:00:00Z"),
            ("0 0 29 2 *", "2026-03-01T00:00:00Z", "UTC", "2028-02-29T00:00:00Z"),
            ("0 0 30 2 *", "2026-03-01T00:00:00Z", "UTC", "never"),
            ("@hourly", "2026-01-01T00:00:00Z", "UTC", "2026-01-01T01:00:00Z"),
            ("@weekly", "2026-01-01T00:00:00Z", "UTC", "2026-01-04T00:00:00Z"),
            ("@every 1h30m", "2026-01-01T00:00:00.7Z", "UTC", "2026-01-01T01:30:00Z"),
            ("0 9 * * *", "2026-01-01T00:30:00Z", "Asia/Shanghai", "2026-01-01T01:00:00Z"),
            // the hour that the clock skips is not run that day
            ("30 2 * * *", "2026-03-07T12:00:00Z", "America/New_York", "2026-03-09T06:30:00Z"),
            // the hour that comes twice
            ("30 1 * * *", "2026-11-01T05:30:00Z", "America/New_York", "2026-11-01T06:30:00Z"),
        ];
        for (schedule, after, zone, expected) in cases {
            assert_eq!(next(schedule, after, zone), expected, "{schedule} after {after} in {zone}");
        }
    }

    #[test]
    fn refusals() {
        let cases = [
            ("", "empty spec string"),
            ("* *", "expected exactly 5 fields, found 2: [* *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("*/1/2 * * * *", "too many slashes: */1/2"),
            ("@never", "unrecognized descriptor: @never"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
        ];
        for (schedule, expected) in cases {
            assert_eq!(Schedule::parse(schedule).unwrap_err(), expected, "{schedule}");
        }
    }
}
