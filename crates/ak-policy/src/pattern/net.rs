//! Patterns over hosts, address ranges and ports.

use core::fmt;
use core::net::IpAddr;

use super::error::PatternError;
use crate::target::{CanonicalHost, CanonicalIp, parse_port};

/// A pattern over host names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostPattern {
    /// `*`: every name.
    Any,
    /// One name.
    Exactly(CanonicalHost),
    /// `*.x`: every name below `x` at any depth, never `x` itself.
    Below(CanonicalHost),
}

impl HostPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (below, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        if name.contains('*') {
            return Err(PatternError::HostWildcard);
        }
        let host = CanonicalHost::parse(name)?;
        Ok(if below { Self::Below(host) } else { Self::Exactly(host) })
    }

    pub(crate) fn matches(&self, host: &CanonicalHost) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(own) => own == host,
            Self::Below(parent) => host
                .as_str()
                .strip_suffix(parent.as_str())
                .is_some_and(|labels| labels.len() > 1 && labels.ends_with('.')),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exactly(host) => host.fmt(f),
            Self::Below(host) => write!(f, "*.{host}"),
        }
    }
}

/// A range of addresses: `10.0.0.0/8`, `[2001:db8::]/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cidr {
    base: CanonicalIp,
    bits: u8,
}

impl Cidr {
    pub(crate) fn of(ip: CanonicalIp) -> Self {
        Self { base: ip, bits: width(ip) }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let (address, bracketed) = match address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            Some(inner) => (inner, true),
            None => (address, false),
        };
        let written: IpAddr = address.parse().map_err(|_| PatternError::Cidr)?;
        if written.is_ipv6() != bracketed {
            return Err(PatternError::Cidr);
        }
        let base = CanonicalIp::new(written);
        let Some(bits) = bits else { return Ok(Self::of(base)) };
        let plain = bits.bytes().all(|byte| byte.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
        let bits: u8 = bits.parse().ok().filter(|_| plain).ok_or(PatternError::Cidr)?;
        // A mapped range, `[::ffff:10.0.0.0]/104`, is the IPv4 range it maps; a wider one would be partly IPv4,
        // partly IPv6, and is rejected.
        let shift = if written.is_ipv6() && base.get().is_ipv4() { 96 } else { 0 };
        let bits = bits.checked_sub(shift).filter(|&bits| bits <= width(base)).ok_or(PatternError::Cidr)?;
        let range = Self { base, bits };
        if range.prefix_of(base) == number(base) { Ok(range) } else { Err(PatternError::CidrHostBits) }
    }

    pub(crate) fn contains(&self, ip: CanonicalIp) -> bool {
        self.base.get().is_ipv4() == ip.get().is_ipv4() && self.prefix_of(ip) == number(self.base)
    }

    /// Whether the range contains all of another.
    pub(crate) fn covers(&self, other: Cidr) -> bool {
        self.bits <= other.bits && self.contains(other.base)
    }

    /// Whether the range is a large part of the internet: its prefix has fewer than 8 bits.
    pub(crate) fn is_vast(&self) -> bool {
        self.bits < 8
    }

    fn prefix_of(&self, ip: CanonicalIp) -> u128 {
        let free = u32::from(width(self.base) - self.bits);
        number(ip).checked_shr(free).unwrap_or(0).checked_shl(free).unwrap_or(0)
    }
}

fn width(ip: CanonicalIp) -> u8 {
    if ip.get().is_ipv4() { 32 } else { 128 }
}

fn number(ip: CanonicalIp) -> u128 {
    match ip.get() {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.base.fmt(f)?;
        if self.bits == width(self.base) { Ok(()) } else { write!(f, "/{}", self.bits) }
    }
}

/// A port, a range of ports (`8000-8099`), or every port (`*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ports {
    low: u16,
    high: u16,
}

impl Ports {
    pub(crate) const ALL: Ports = Ports { low: 0, high: u16::MAX };

    pub(crate) fn only(port: u16) -> Self {
        Self { low: port, high: port }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::ALL);
        }
        let port = |text| parse_port(text).map_err(|_| PatternError::Ports);
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let ports = Self { low: port(low)?, high: port(high)? };
        if ports.low <= ports.high { Ok(ports) } else { Err(PatternError::Ports) }
    }

    pub(crate) fn contains(self, port: u16) -> bool {
        (self.low..=self.high).contains(&port)
    }

    pub(crate) fn covers(self, other: Ports) -> bool {
        self.low <= other.low && other.high <= self.high
    }

    /// The port, when the range has only one.
    pub(crate) fn single(self) -> Option<u16> {
        (self.low == self.high).then_some(self.low)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ALL => f.write_str("*"),
            Self { low, high } if low == high => low.fmt(f),
            Self { low, high } => write!(f, "{low}-{high}"),
        }
    }
}

/// A pattern over endpoints of connections: `dns:HOST:PORTS` or `ip:RANGE:PORTS`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EndpointPattern {
    /// Hosts by name.
    Host(HostPattern, Ports),
    /// Addresses by range.
    Net(Cidr, Ports),
}

impl EndpointPattern {
    /// Parses the text after `dns:`, which must have a port.
    pub(crate) fn parse_host(text: &str) -> Result<Self, PatternError> {
        let (host, ports) = text.rsplit_once(':').ok_or(PatternError::Ports)?;
        Ok(Self::Host(HostPattern::parse(host)?, Ports::parse(ports)?))
    }

    /// Parses the text after `ip:`.
    pub(crate) fn parse_net(text: &str) -> Result<Self, PatternError> {
        let (range, ports) = text.rsplit_once(':').ok_or(PatternError::Ports)?;
        Ok(Self::Net(Cidr::parse(range)?, Ports::parse(ports)?))
    }
}

impl fmt::Display for EndpointPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host, ports) => write!(f, "dns:{host}:{ports}"),
            Self::Net(range, ports) => write!(f, "ip:{range}:{ports}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn hosts() {
        let check = |pattern: &str, host: &str, expected: bool| {
            let host = CanonicalHost::parse(host).unwrap();
            assert_eq!(HostPattern::parse(pattern).unwrap().matches(&host), expected, "{pattern} on {host}");
        };
        check("example.com", "example.com", true);
        check("Example.COM.", "example.com", true);
        check("example.com", "a.example.com", false);
        check("*.example.com", "a.example.com", true);
        check("*.example.com", "a.b.example.com", true);
        check("*.example.com", "example.com", false);
        check("*.example.com", "evilexample.com", false);
        check("*.example.com", "example.com.evil.net", false);
        check("*.bücher.example", "a.xn--bcher-kva.example", true);
        check("*", "anything.at.all", true);
        for refused in ["", "*.", "a.*", "*a.com", "a*.com", "*.*.com", "127.0.0.1", "*.1", "a b"] {
            assert!(HostPattern::parse(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn ranges() {
        let check = |pattern: &str, ip: &str, expected: bool| {
            let range = Cidr::parse(pattern).unwrap();
            assert_eq!(range.contains(CanonicalIp::parse(ip).unwrap()), expected, "{pattern} on {ip}");
            assert_eq!(Cidr::parse(&range.to_string()), Ok(range), "{pattern}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("0.0.0.0/0", "8.8.8.8", true);
        check("0.0.0.0/0", "::1", false);
        check("[::]/0", "::1", true);
        check("[::]/0", "1.2.3.4", false);
        check("[2001:db8::]/32", "2001:db8:1::1", true);
        check("[2001:db8::]/32", "2001:db9::", false);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("127.0.0.1", "::ffff:127.0.0.1", true);
        check("[::ffff:10.0.0.0]/104", "10.1.2.3", true);
        for refused in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/08",
            "10.0.0/8",
            "10.0.0.0/",
            "2001:db8::/32",
            "[10.0.0.0]/8",
            "[2001:db8::/32]",
            "[2001:db8::]/129",
            "[::ffff:0:0]/95",
            "010.0.0.0/8",
        ] {
            assert!(Cidr::parse(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn ports() {
        let check = |pattern: &str, port: u16, expected: bool| {
            assert_eq!(Ports::parse(pattern).unwrap().contains(port), expected, "{pattern} on {port}");
        };
        check("443", 443, true);
        check("443", 444, false);
        check("8000-8099", 8000, true);
        check("8000-8099", 8099, true);
        check("8000-8099", 8100, false);
        check("*", 0, true);
        check("*", 65535, true);
        for refused in ["", "65536", "-1", "0443", "9-8", "1-", "-", "a", "1-2-3", "+1"] {
            assert!(Ports::parse(refused).is_err(), "{refused}");
        }
    }
}
