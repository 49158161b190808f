//! `ip()` and `cidr()`.

use std::fmt;
use std::net::IpAddr;

use sampan_api::go::Quote as _;

use super::{Called, Special, special};
use crate::error::EvalError;
use crate::value::Value;

/// An address and how many bits of it name the network.
#[derive(Debug, PartialEq, Eq)]
pub struct Cidr {
    ip: IpAddr,
    bits: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, EvalError> {
    let ip: IpAddr = text.parse().map_err(|_| {
        EvalError::new(format!(
            "IP Address {} parse error during conversion from string: ParseAddr({}): unable to parse IP",
            text.quoted(),
            text.quoted()
        ))
    })?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(EvalError::new(format!("IPv4-mapped IPv6 address {} is not allowed", text.quoted())))
        }
        ip => Ok(ip),
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, EvalError> {
    let wrong = || {
        EvalError::new(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({})",
            text.quoted()
        ))
    };
    let (ip, bits) = text.split_once('/').ok_or_else(wrong)?;
    let ip = parse_ip(ip).map_err(|_| wrong())?;
    if (bits.len() > 1 && bits.starts_with('0')) || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let bits: u8 = bits.parse().map_err(|_| wrong())?;
    if bits > width(&ip) { Err(wrong()) } else { Ok(Cidr { ip, bits }) }
}

fn width(ip: &IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

pub(super) fn make<'a>(name: &str, value: &Value<'_>) -> Called<'a> {
    let text = value.as_str().ok_or_else(EvalError::overload)?;
    Ok(match name {
        "isIP" => Value::Bool(parse_ip(text).is_ok()),
        "ip" => special(Special::Ip(parse_ip(text)?)),
        "ip.isCanonical" => Value::Bool(parse_ip(text)?.to_string() == text),
        "isCIDR" => Value::Bool(parse_cidr(text).is_ok()),
        _ => special(Special::Cidr(parse_cidr(text)?)),
    })
}

pub(super) fn ip_method<'a>(name: &str, ip: &IpAddr) -> Called<'a> {
    let linklocal = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    Ok(match name {
        "family" => Value::Int(if ip.is_ipv4() { 4 } else { 6 }),
        "isUnspecified" => Value::Bool(ip.is_unspecified()),
        "isLoopback" => Value::Bool(ip.is_loopback()),
        "isLinkLocalUnicast" => Value::Bool(linklocal),
        "isLinkLocalMulticast" => Value::Bool(match ip {
            IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
        }),
        "isGlobalUnicast" => {
            let other =
                ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || linklocal || broadcast;
            Value::Bool(!other)
        }
        _ => return Err(EvalError::overload()),
    })
}

fn bits_of(ip: &IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Cidr {
    fn masked(&self) -> IpAddr {
        let shift = u32::from(width(&self.ip) - self.bits);
        let kept = bits_of(&self.ip).checked_shr(shift).unwrap_or(0).checked_shl(shift).unwrap_or(0);
        match self.ip {
            IpAddr::V4(_) => IpAddr::V4((kept as u32).into()),
            IpAddr::V6(_) => IpAddr::V6(kept.into()),
        }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.ip.is_ipv4() && Cidr { ip, bits: self.bits }.masked() == self.masked()
    }

    pub(super) fn method<'a>(&self, name: &str, argument: Option<&Value<'_>>) -> Called<'a> {
        let inner = argument
            .and_then(|value| if let Value::Special(special) = value { Some(&**special) } else { None });
        let text = argument.and_then(Value::as_str);
        Ok(match (name, text, inner) {
            ("containsIP", Some(text), _) => Value::Bool(self.contains(parse_ip(text)?)),
            ("containsIP", _, Some(Special::Ip(ip))) => Value::Bool(self.contains(*ip)),
            ("containsCIDR", Some(text), _) => Value::Bool(self.covers(&parse_cidr(text)?)),
            ("containsCIDR", _, Some(Special::Cidr(other))) => Value::Bool(self.covers(other)),
            ("ip", None, None) => special(Special::Ip(self.ip)),
            ("masked", None, None) => special(Special::Cidr(Cidr { ip: self.masked(), bits: self.bits })),
            ("prefixLength", None, None) => Value::Int(i64::from(self.bits)),
            _ => return Err(EvalError::overload()),
        })
    }

    fn covers(&self, other: &Cidr) -> bool {
        self.bits <= other.bits && self.contains(other.ip)
    }
}
