//! A URL has one canonical form, and the `url` crate reads that form as `ak-policy` does.
#![no_main]

use ak_policy::{HostOrIp, Target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(target) = Target::url(text) else { return };
    let canonical = target.to_string();
    assert_eq!(Target::url(&canonical).as_ref(), Ok(&target));
    let Target::Url(own) = &target else { unreachable!("a URL") };
    assert!(canonical.is_ascii() && !canonical.contains(['\\', '#', '@']) || canonical.contains("/"));

    let other = url::Url::parse(&canonical).expect("a canonical URL is a URL");
    assert_eq!(other.as_str(), canonical);
    assert_eq!(other.scheme(), own.scheme().as_str());
    assert_eq!(other.port_or_known_default(), Some(own.port()));
    assert_eq!(other.path(), own.path());
    assert_eq!(other.query(), own.query());
    match (other.host(), own.host()) {
        (Some(url::Host::Domain(name)), HostOrIp::Host(host)) => assert_eq!(name, host.as_str()),
        (Some(url::Host::Ipv4(ip)), HostOrIp::Ip(own)) => assert_eq!(own.get(), ip),
        (Some(url::Host::Ipv6(ip)), HostOrIp::Ip(own)) => assert_eq!(own.get(), ip),
        (host, own) => panic!("{host:?} is not {own}"),
    }
    // The original text names the same host and port, if the crate accepts it. The crate keeps a trailing dot
    // of the host.
    if let Ok(raw) = url::Url::parse(text) {
        let host = raw.host_str().map(|host| host.strip_suffix('.').unwrap_or(host));
        assert_eq!(host, other.host_str());
        assert_eq!(raw.port_or_known_default(), other.port_or_known_default());
    }
});
