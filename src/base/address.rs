//! Addresses of the internet: which are for everybody, and ranges of them. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Tells addresses of the public internet: no machine, network or protocol keeps them for itself.
/// Addresses that stand for others (IPv4-mapped, 6to4, NAT64, Teredo) are not: what they lead to
/// would have to be judged, and differs from network to network.
///
/// Source: the IANA special-purpose address registries for IPv4 and IPv6.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    /// The first address of each range that is not public, and the bits that count.
    const SPECIAL: &[([u8; 4], u32)] = &[
        ([0, 0, 0, 0], 8),       // "this network"
        ([10, 0, 0, 0], 8),      // private
        ([100, 64, 0, 0], 10),   // between a provider and its customers
        ([127, 0, 0, 0], 8),     // loopback
        ([169, 254, 0, 0], 16),  // link-local, and the metadata of clouds
        ([172, 16, 0, 0], 12),   // private
        ([192, 0, 0, 0], 24),    // protocols
        ([192, 0, 2, 0], 24),    // documentation
        ([192, 88, 99, 0], 24),  // relays of 6to4
        ([192, 168, 0, 0], 16),  // private
        ([198, 18, 0, 0], 15),   // measurements
        ([198, 51, 100, 0], 24), // documentation
        ([203, 0, 113, 0], 24),  // documentation
        ([224, 0, 0, 0], 4),     // multicast
        ([240, 0, 0, 0], 4),     // reserved, and broadcast
    ];
    let bits = address.to_bits();
    !SPECIAL
        .iter()
        .any(|(first, length)| shares_start_v4(bits, Ipv4Addr::from(*first).to_bits(), *length))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    /// All that is handed out to anybody.
    const GLOBAL: (u128, u32) = (0x2000 << 112, 3);
    /// What of it is not.
    const SPECIAL: &[(u128, u32)] = &[
        (0x2001 << 112, 23),                   // protocols, Teredo among them
        ((0x2001 << 112) | (0xdb8 << 96), 32), // documentation
        (0x2002 << 112, 16),                   // 6to4
        (0x3fff << 112, 20),                   // documentation
    ];
    let bits = address.to_bits();
    let is_in = |(first, length): &(u128, u32)| shares_start_v6(bits, *first, *length);
    is_in(&GLOBAL) && !SPECIAL.iter().any(is_in)
}

fn shares_start_v4(left: u32, right: u32, bits: u32) -> bool {
    (left ^ right).checked_shr(32 - bits).unwrap_or(0) == 0
}

fn shares_start_v6(left: u128, right: u128, bits: u32) -> bool {
    (left ^ right).checked_shr(128 - bits).unwrap_or(0) == 0
}

/// One address, or all that begin with the same bits: `127.0.0.1`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    bits: u32,
}

impl AddressRange {
    /// An IPv4 address is in no range of IPv6, however it is written.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                shares_start_v4(address.to_bits(), first.to_bits(), self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                shares_start_v6(address.to_bits(), first.to_bits(), self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Whether nothing is left of the first address behind the bits that count: `10.1.2.3/8` may be
    /// meant as one address or as a whole network.
    fn is_clear(&self) -> bool {
        match self.first {
            IpAddr::V4(first) => first.to_bits().checked_shl(self.bits).unwrap_or(0) == 0,
            IpAddr::V6(first) => first.to_bits().checked_shl(self.bits).unwrap_or(0) == 0,
        }
    }
}

/// A text that is no [`AddressRange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an IP address, or the first of a network and its length, such as `10.0.0.0/8`")]
pub struct NotARange;

impl FromStr for AddressRange {
    type Err = NotARange;

    fn from_str(text: &str) -> Result<AddressRange, NotARange> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| NotARange)?;
        let all = if first.is_ipv4() { 32 } else { 128 };
        let bits = length.map_or(Ok(all), str::parse).map_err(|_| NotARange)?;
        let range = AddressRange { first, bits };
        if bits <= all && range.is_clear() {
            Ok(range)
        } else {
            Err(NotARange)
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for (address, expected) in [
            ("1.1.1.1", true),
            ("9.255.255.255", true),
            ("11.0.0.0", true),
            ("100.63.255.255", true),
            ("100.128.0.0", true),
            ("128.0.0.0", true),
            ("172.15.255.255", true),
            ("172.32.0.0", true),
            ("192.0.1.0", true),
            ("198.17.255.255", true),
            ("198.20.0.0", true),
            ("223.255.255.255", true),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("10.0.0.1", false),
            ("10.255.255.255", false),
            ("100.64.0.1", false),
            ("100.127.255.255", false),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.0.0.8", false),
            ("192.0.2.1", false),
            ("192.88.99.1", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("198.19.255.255", false),
            ("198.51.100.7", false),
            ("203.0.113.9", false),
            ("224.0.0.1", false),
            ("239.255.255.255", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn addresses_of_ipv6_that_stand_for_others_are_not_public() {
        for (address, expected) in [
            ("2606:4700:4700::1111", true),
            ("2001:4860:4860::8888", true),
            ("2001:200::1", true),
            ("3ffe::1", true),
            ("2a00::1", true),
            ("::", false),
            ("::1", false),
            ("::ffff:8.8.8.8", false),
            ("::ffff:127.0.0.1", false),
            ("::8.8.8.8", false),
            ("64:ff9b::8.8.8.8", false),
            ("64:ff9b:1::1", false),
            ("100::1", false),
            ("2001::1", false),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", false),
            ("2001:2::1", false),
            ("2001:10::1", false),
            ("2001:1ff:ffff::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("3fff::1", false),
            ("3fff:fff::1", false),
            ("4000::1", false),
            ("5f00::1", false),
            ("fc00::1", false),
            ("fdff::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_range_holds_what_begins_like_it() {
        for (range, address, expected) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1/32", "127.0.0.1", true),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "192.168.1.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "127.0.0.1", false),
            ("::ffff:0:0/96", "127.0.0.1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
        ] {
            let found: AddressRange = range.parse().unwrap();
            let holds = found.contains(address.parse().unwrap());
            assert_eq!(holds, expected, "{range} {address}");
        }
    }

    #[test]
    fn what_is_no_range_or_could_mean_two_things_is_refused() {
        for text in [
            "",
            "localhost",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.1/8",
            "10.0.0.1/0",
            "10/8",
            "::/129",
            "fd00::1/8",
            "1.2.3.4/8/8",
        ] {
            assert_eq!(text.parse::<AddressRange>(), Err(NotARange), "{text}");
        }
        let shown: AddressRange = "fd00::/8".parse().unwrap();
        assert_eq!(shown.to_string(), "fd00::/8");
    }
}
