//! The limit on file descriptors of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on descriptors to the hard one, and never lowers it: each connection, effect and segment of
/// the journal takes a descriptor. Returns the limit that holds then; `None` when there is no limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let may_be_raised = current.is_some_and(|current| maximum.is_none_or(|maximum| current < maximum));
    if may_be_raised && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum;
    }
    current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let low = current.unwrap_or(1 << 16).min(512);
        setrlimit(Resource::Nofile, Rlimit { current: Some(low), maximum }).expect("it may be lowered");
        assert_eq!(raise_descriptor_limit(), maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
        assert_eq!(raise_descriptor_limit(), maximum, "once more changes nothing");
    }
}
