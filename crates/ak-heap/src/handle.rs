//! Handles, which identify objects.

use core::fmt;
use core::str::FromStr;

/// The number of one object, never used for another one: `generation << 32 | index`.
///
/// The index is the object's position in the heap's table. The generation tells apart the objects that have had this
/// index one after another. Generations begin at 1, so 0 identifies nothing.
///
/// Written as `0x` and lower-case hexadecimal digits; [`FromStr`] parses that form, with leading zeros and upper-case
/// digits too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(u64);

/// Text that is not `0x` followed by 1 to 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a handle is written as 0x and 1 to 16 hexadecimal digits")]
pub struct HandleError;

impl Handle {
    /// The handle with this number. Only a heap can tell whether there is such an object.
    pub const fn from_raw(raw: u64) -> Handle {
        Handle(raw)
    }

    /// The handle's number.
    pub const fn raw(self) -> u64 {
        self.0
    }

    pub(crate) const fn new(generation: u32, index: u32) -> Handle {
        Handle((generation as u64) << 32 | index as u64)
    }

    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The object's position in the heap's table, which another object can get once this one is removed for good.
    pub const fn index(self) -> u32 {
        self.0 as u32
    }
}

impl FromStr for Handle {
    type Err = HandleError;

    fn from_str(text: &str) -> Result<Handle, HandleError> {
        let digits = text.strip_prefix("0x").ok_or(HandleError)?;
        // `from_str_radix` would accept a sign too.
        if digits.len() > 16 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(HandleError);
        }
        u64::from_str_radix(digits, 16).map(Handle).map_err(|_| HandleError)
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(text.parse::<Handle>().ok().map(Handle::raw), expected, "{text}");
    }

    #[test]
    fn a_handle_is_read_from_hexadecimal_alone() {
        check("0x100000000", Some(1 << 32));
        check("0x0000000100000002", Some((1 << 32) + 2));
        check("0xFFFFFFFFFFFFFFFF", Some(u64::MAX));
        check("0x0", Some(0));
        check("0x", None);
        check("100000000", None);
        check("0X1", None);
        check("0x+1", None);
        check("0x1 ", None);
        check("0x10000000000000000", None);
    }

    #[test]
    fn a_handle_survives_its_text() {
        for handle in [Handle::new(1, 0), Handle::new(7, u32::MAX), Handle::new(u32::MAX, 9)] {
            assert_eq!(handle.to_string().parse(), Ok(handle));
            assert_eq!(Handle::new(handle.generation(), handle.index()), handle);
        }
    }
}
