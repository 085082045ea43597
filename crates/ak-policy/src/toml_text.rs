//! Quotes TOML strings.

use core::fmt::{self, Write};

/// Writes a text as a TOML basic string (TOML 1.0, "String").
///
/// Besides the characters that TOML requires to be escaped, it escapes those that a reviewer could not see:
/// control, bidirectional and invisible characters.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if is_invisible(c) && c <= '\u{ffff}' => write!(f, "\\u{:04X}", u32::from(c))?,
                c if is_invisible(c) => write!(f, "\\U{:08X}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

fn is_invisible(c: char) -> bool {
    let format = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || format || c.is_whitespace() && c != ' '
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quoted_text_reads_back(text in any::<alloc::string::String>()) {
            let line = alloc::format!("x = {}", Quoted(&text));
            prop_assert!(!line.contains('\n'));
            let table = toml::de::DeTable::parse(&line).unwrap();
            let (_, value) = table.get_ref().iter().next().unwrap();
            prop_assert_eq!(value.get_ref().as_str(), Some(text.as_str()));
        }
    }

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert_eq!(Quoted("a\"b\\c\n\u{202e}\u{e0041}").to_string(), r#""a\"b\\c\u000A\u202E\U000E0041""#);
    }
}
