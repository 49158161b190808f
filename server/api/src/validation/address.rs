//! IP addresses and blocks of them: `k8s.io/apimachinery/pkg/util/validation/ip.go` and
//! `pkg/apis/core/validation`, with `StrictIPCIDRValidation` as it is from v1.36.
//!
//! Fields that are older than the strict rules take any spelling of an address ([`is_ip`], [`is_cidr`]); younger
//! ones take the canonical one ([`is_canonical_ip`], [`is_canonical_cidr`]).

use std::net::{IpAddr, Ipv4Addr};

use crate::go::Quote as _;

const INVALID_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const INVALID_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// What Go's old parser makes of an address, which takes leading zeros for nothing.
fn sloppy(value: &str) -> Option<IpAddr> {
    if let Ok(address) = value.parse() {
        return Some(address);
    }
    let part = |part: &str| match part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
        true => None,
        false => part.parse::<u32>().ok().and_then(|number| u8::try_from(number).ok()),
    };
    let parts: Vec<u8> = value.split('.').map(part).collect::<Option<_>>()?;
    <[u8; 4]>::try_from(parts).ok().map(|octets| Ipv4Addr::from(octets).into())
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

/// The address, or what is wrong with it.
fn strict(value: &str) -> Result<IpAddr, Vec<String>> {
    let address = sloppy(value).ok_or_else(|| vec![INVALID_IP.to_owned()])?;
    match () {
        () if value.parse::<IpAddr>().is_err() => Err(vec!["must not have leading 0s".to_owned()]),
        () if is_mapped(address) => Err(vec!["must not be an IPv4-mapped IPv6 address".to_owned()]),
        () => Ok(address),
    }
}

/// `IsValidIPForLegacyField`.
pub fn is_ip(value: &str) -> Vec<String> {
    strict(value).err().unwrap_or_default()
}

/// `IsValidIP`.
pub fn is_canonical_ip(value: &str) -> Vec<String> {
    match strict(value) {
        Err(why) => why,
        Ok(address) if address.to_string() != value => vec![canonical(&address.to_string())],
        Ok(_) => vec![],
    }
}

fn canonical(form: &str) -> String {
    format!("must be in canonical form ({})", form.quoted())
}

/// A block's address as written, how long its prefix is, and its first address.
fn block(value: &str) -> Option<(IpAddr, u8, IpAddr)> {
    let (address, bits) = value.rsplit_once('/')?;
    let address = sloppy(address)?;
    let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
    let bits: u8 = bits.parse().ok().filter(|_| digits)?;
    let first = match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits.into())?).unwrap_or(0);
            IpAddr::from(Ipv4Addr::from(u32::from(v4) & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(bits.into())?).unwrap_or(0);
            IpAddr::from(std::net::Ipv6Addr::from(u128::from(v6) & mask))
        }
    };
    Some((address, bits, first))
}

/// `IsValidCIDRForLegacyField`.
pub fn is_cidr(value: &str) -> Vec<String> {
    let Some((address, bits, first)) = block(value) else { return vec![INVALID_CIDR.to_owned()] };
    let (written, length) = value.rsplit_once('/').unwrap_or_default();
    let why = match () {
        () if written.parse::<IpAddr>().is_err() || length != bits.to_string() => {
            "must not have leading 0s in IP or prefix length"
        }
        () if is_mapped(address) => "must not have an IPv4-mapped IPv6 address",
        () if address != first => "must not have bits set beyond the prefix length",
        () => return vec![],
    };
    vec![why.to_owned()]
}

/// `IsValidCIDR`.
pub fn is_canonical_cidr(value: &str) -> Vec<String> {
    let errors = is_cidr(value);
    match block(value) {
        Some((_, bits, first)) if errors.is_empty() && format!("{first}/{bits}") != value => {
            vec![canonical(&format!("{first}/{bits}"))]
        }
        _ => errors,
    }
}

/// `IsValidInterfaceAddress`: an address, with the length of its network's prefix.
pub fn is_interface_address(value: &str) -> Vec<String> {
    let Some((address, bits, _)) = block(value) else {
        let why = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        return vec![why.to_owned()];
    };
    let address = address.to_canonical();
    let bits = if address.is_ipv4() && bits > 32 { bits.saturating_sub(96) } else { bits };
    let form = format!("{address}/{bits}");
    if form == value { vec![] } else { vec![canonical(&form)] }
}

/// Whether `inner` lies within `outer` and is smaller; `None` if one of them is no block.
pub fn is_strict_subset(inner: &str, outer: &str) -> Option<bool> {
    let ((_, inner_bits, inner_first), (_, outer_bits, outer_first)) = (block(inner)?, block(outer)?);
    let (_, _, reached) =
        block(&format!("{inner_first}/{outer_bits}")).unwrap_or((inner_first, 0, inner_first));
    Some(inner_bits > outer_bits && reached == outer_first)
}

/// `ValidateNonSpecialIP`: addresses that make no sense as an endpoint.
pub fn is_non_special_ip(value: &str) -> Vec<String> {
    let Some(address) = sloppy(value) else { return vec!["must be a valid IP address".to_owned()] };
    let (link_local, multicast) = match address.to_canonical() {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    let found = [
        (address.is_unspecified(), format!("may not be unspecified ({value})")),
        (
            address.to_canonical().is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned(),
        ),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()),
    ];
    found.into_iter().filter(|(special, _)| *special).map(|(_, why)| why).collect()
}

/// Whether this is an IPv6 address; `None` for no address at all.
pub fn is_ipv6(value: &str) -> Option<bool> {
    sloppy(value).map(|address| address.is_ipv6() && !is_mapped(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let cases = [
            ("10.1.2.3", "", ""),
            ("2001:db8::1", "", ""),
            ("2001:DB8:0::1", "", "must be in canonical form (\"2001:db8::1\")"),
            ("010.1.2.3", "must not have leading 0s", "must not have leading 0s"),
            (
                "::ffff:1.2.3.4",
                "must not be an IPv4-mapped IPv6 address",
                "must not be an IPv4-mapped IPv6 address",
            ),
            ("300.1.2.3", INVALID_IP, INVALID_IP),
            ("1.2.3", INVALID_IP, INVALID_IP),
            ("+1.2.3.4", INVALID_IP, INVALID_IP),
            ("", INVALID_IP, INVALID_IP),
        ];
        for (value, legacy, canonical) in cases {
            assert_eq!(is_ip(value).join(";"), legacy, "{value}");
            assert_eq!(is_canonical_ip(value).join(";"), canonical, "{value}");
        }
    }

    #[test]
    fn blocks() {
        let zeros = "must not have leading 0s in IP or prefix length";
        let cases = [
            ("10.0.0.0/8", "", ""),
            ("0.0.0.0/0", "", ""),
            ("2001:db8::/64", "", ""),
            ("2001:DB8::/64", "", "must be in canonical form (\"2001:db8::/64\")"),
            (
                "10.0.0.1/8",
                "must not have bits set beyond the prefix length",
                "must not have bits set beyond the prefix length",
            ),
            ("10.0.0.0/08", zeros, zeros),
            ("010.0.0.0/8", zeros, zeros),
            (
                "::ffff:10.0.0.0/104",
                "must not have an IPv4-mapped IPv6 address",
                "must not have an IPv4-mapped IPv6 address",
            ),
            ("10.0.0.0", INVALID_CIDR, INVALID_CIDR),
            ("10.0.0.0/33", INVALID_CIDR, INVALID_CIDR),
            ("10.0.0.0/+8", INVALID_CIDR, INVALID_CIDR),
        ];
        for (value, legacy, canonical) in cases {
            assert_eq!(is_cidr(value).join(";"), legacy, "{value}");
            assert_eq!(is_canonical_cidr(value).join(";"), canonical, "{value}");
        }
        let subsets = [
            ("10.1.0.0/16", "10.0.0.0/8", Some(true)),
            ("10.0.0.0/8", "10.0.0.0/8", Some(false)),
            ("11.0.0.0/16", "10.0.0.0/8", Some(false)),
            ("2001:db8::/64", "10.0.0.0/8", Some(false)),
            ("x", "10.0.0.0/8", None),
        ];
        for (inner, outer, expected) in subsets {
            assert_eq!(is_strict_subset(inner, outer), expected, "{inner} in {outer}");
        }
    }

    #[test]
    fn special_addresses() {
        for (value, expected) in [
            ("10.0.0.1", ""),
            ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
            ("127.0.0.1", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            ("169.254.1.1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
            ("224.0.0.5", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
            ("fe80::1", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        ] {
            assert_eq!(is_non_special_ip(value).join(";"), expected, "{value}");
        }
    }
}
