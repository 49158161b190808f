//! Parts of instants and durations.

use jiff::tz::{Offset, TimeZone};

use super::Called;
use crate::error::EvalError;
use crate::value::Value;

pub(super) fn part<'a>(name: &str, target: &Value<'_>, zone: Option<&Value<'_>>) -> Called<'a> {
    match target {
        Value::Duration(nanos) if zone.is_none() => of_duration(name, *nanos),
        Value::Timestamp(instant) => {
            let zone = match zone {
                None => TimeZone::UTC,
                Some(zone) => zone_named(zone.as_str().ok_or_else(EvalError::overload)?)?,
            };
            of_instant(name, &instant.to_zoned(zone))
        }
        _ => Err(EvalError::overload()),
    }
}

fn zone_named(name: &str) -> Result<TimeZone, EvalError> {
    let unknown = || EvalError::new(format!("unknown time zone {name}"));
    if name.is_empty() || name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let Some((hours, minutes)) = name.split_once(':') else {
        return TimeZone::get(name).map_err(|_| unknown());
    };
    let (hour, minute): (i32, i32) =
        (hours.parse().map_err(|_| unknown())?, minutes.parse().map_err(|_| unknown())?);
    let sign = if hours.starts_with('-') { -1 } else { 1 };
    let seconds =
        hour.checked_mul(3600).and_then(|hours| hours.checked_add(sign * minute * 60)).ok_or_else(unknown)?;
    Offset::from_seconds(seconds).map(TimeZone::fixed).map_err(|_| unknown())
}

fn of_instant<'a>(name: &str, at: &jiff::Zoned) -> Called<'a> {
    Ok(Value::Int(match name {
        "getFullYear" => i64::from(at.year()),
        "getMonth" => i64::from(at.month()) - 1,
        "getDayOfYear" => i64::from(at.day_of_year()) - 1,
        "getDayOfMonth" => i64::from(at.day()) - 1,
        "getDate" => i64::from(at.day()),
        "getDayOfWeek" => i64::from(at.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(at.hour()),
        "getMinutes" => i64::from(at.minute()),
        "getSeconds" => i64::from(at.second()),
        "getMilliseconds" => i64::from(at.millisecond()),
        _ => return Err(EvalError::overload()),
    }))
}

fn of_duration<'a>(name: &str, nanos: i64) -> Called<'a> {
    Ok(Value::Int(match name {
        "getHours" => nanos / 3_600_000_000_000,
        "getMinutes" => nanos / 60_000_000_000,
        "getSeconds" => nanos / 1_000_000_000,
        "getMilliseconds" => nanos / 1_000_000 % 1000,
        _ => return Err(EvalError::overload()),
    }))
}
