//! IP addresses in one spelling, and which of them belong to the public internet.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::TargetError;

/// An IP address with one spelling: an IPv4-mapped IPv6 address becomes the IPv4 address it maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalIp(IpAddr);

impl CanonicalIp {
    /// The canonical form of an address.
    pub fn new(ip: IpAddr) -> Self {
        Self(ip.to_canonical())
    }

    /// Reads a dotted quad or an IPv6 address (RFC 4291 §2.2), without brackets.
    ///
    /// [`TargetError::Address`] for every other spelling. Octal, hexadecimal, short and decimal IPv4 are rejected
    /// because programs read them differently; IPv6 zones because they are valid on one machine only.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        text.parse().map(Self::new).map_err(|_| TargetError::Address)
    }

    /// The address.
    pub fn get(self) -> IpAddr {
        self.0
    }

    /// Whether the address belongs to the public internet: it is not private, shared, loopback, link-local,
    /// multicast, reserved, for documentation, the end of a tunnel, or an address at which a cloud serves metadata.
    ///
    /// Follows the IANA special-purpose registries (RFC 6890). An address that embeds an IPv4 address for NAT64
    /// (RFC 6052) counts as the embedded one.
    pub fn is_public(self) -> bool {
        match self.0 {
            IpAddr::V4(ip) => is_public_v4(ip),
            IpAddr::V6(ip) => is_public_v6(ip),
        }
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    // Azure serves metadata and DNS at this address of the public range.
    const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    let [a, b, c, _] = ip.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special && ip != AZURE
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        // Not public within the global unicast range: IETF protocols (Teredo among them), documentation, 6to4.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

impl fmt::Display for CanonicalIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        let check = |text: &str, public: bool| {
            assert_eq!(CanonicalIp::parse(text).unwrap().is_public(), public, "{text}");
        };
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860::8888",
            "2001:200::1",
            "2400::1",
            "3ffe::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            check(public, true);
        }
        for closed in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            check(closed, false);
        }
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for text in [
            "",
            "127.1",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "2130706433",
            "127.0.0.01",
            "127.0.0.1.",
            "256.0.0.1",
            " 127.0.0.1",
            "127.0.0.1 ",
            "1.2.3.4.5",
            "fe80::1%eth0",
            "[::1]",
            "::g",
            "1::2::3",
            ":::",
            "１２７.0.0.1",
        ] {
            assert_eq!(CanonicalIp::parse(text), Err(TargetError::Address), "{text}");
        }
    }

    #[test]
    fn mapped_addresses_are_the_addresses_they_map() {
        let check = |text: &str, expected: &str| {
            let ip = CanonicalIp::parse(text).unwrap();
            assert_eq!(alloc::string::ToString::to_string(&ip), expected);
        };
        check("::ffff:127.0.0.1", "127.0.0.1");
        check("::FFFF:7F00:1", "127.0.0.1");
        check("0:0:0:0:0:0:0:1", "[::1]");
        check("2001:DB8:0:0:0:0:0:1", "[2001:db8::1]");
    }
}
