//! Patterns of ECMA-262 in the engine's syntax.
//!
//! The engine's syntax differs from ECMA-262's. So a pattern is read here, strictly, and written anew in what
//! both agree upon.

use alloc::string::String;
use core::fmt::Write;
use core::iter::Peekable;
use core::str::Chars;

/// Writes a pattern of ECMA-262 (with the flag `u`) in the engine's syntax; `None` when it is malformed or asks
/// for look-around, back-references or flags.
pub(super) fn translate(source: &str) -> Option<String> {
    let mut reader = Reader { rest: source.chars().peekable(), out: String::new() };
    reader.pattern()?;
    Some(reader.out)
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

const DIGIT: &str = "[0-9]";
const NO_DIGIT: &str = "[^0-9]";
const WORD: &str = "[0-9A-Za-z_]";
const NO_WORD: &str = "[^0-9A-Za-z_]";
const SPACE: &str =
    r"[\x09-\x0d\x20\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}]";
const NO_SPACE: &str =
    r"[^\x09-\x0d\x20\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}]";
const NO_LINE_END: &str = r"[^\n\r\x{2028}\x{2029}]";
const ANYTHING: &str = r"[\x00-\x{10ffff}]";
const NOTHING: &str = r"[^\x00-\x{10ffff}]";

/// What an escape stands for.
enum Escaped {
    Char(char),
    Class(String),
}

impl Reader<'_> {
    fn eat(&mut self, expected: char) -> bool {
        self.rest.next_if_eq(&expected).is_some()
    }

    /// Writes a character that means itself.
    fn literal(&mut self, character: char) {
        // Writing to a string does not fail.
        let _ = write!(self.out, "\\x{{{:x}}}", u32::from(character));
    }

    fn pattern(&mut self) -> Option<()> {
        let mut open = 0usize;
        // Whether a quantifier may follow.
        let mut is_atom = false;
        while let Some(character) = self.rest.next() {
            is_atom = match character {
                '(' => {
                    open += 1;
                    self.group()?;
                    false
                }
                ')' => {
                    open = open.checked_sub(1)?;
                    self.out.push(')');
                    true
                }
                '|' | '^' => {
                    self.out.push(character);
                    false
                }
                '$' => {
                    self.out.push_str("\\z");
                    false
                }
                '*' | '+' | '?' | '{' => {
                    if !is_atom {
                        return None;
                    }
                    self.quantifier(character)?;
                    false
                }
                '.' => {
                    self.out.push_str(NO_LINE_END);
                    true
                }
                '[' => {
                    self.class()?;
                    true
                }
                '\\' => self.escape()?,
                ']' | '}' => return None,
                _ => {
                    self.literal(character);
                    true
                }
            };
        }
        (open == 0).then_some(())
    }

    /// Reads what follows an opening parenthesis. Captures serve nothing here.
    fn group(&mut self) -> Option<()> {
        self.out.push_str("(?:");
        if !self.eat('?') {
            return Some(());
        }
        match self.rest.next()? {
            ':' => Some(()),
            '<' => {
                let is_name = |character: char| character.is_alphanumeric() || "_$".contains(character);
                let mut name = 0;
                while self.rest.next_if(|character| is_name(*character)).is_some() {
                    name += 1;
                }
                (name > 0 && self.eat('>')).then_some(())
            }
            _ => None,
        }
    }

    fn quantifier(&mut self, first: char) -> Option<()> {
        self.out.push(first);
        if first == '{' {
            self.count()?;
            if self.eat(',') {
                self.out.push(',');
                if self.rest.peek() != Some(&'}') {
                    self.count()?;
                }
            }
            if !self.eat('}') {
                return None;
            }
            self.out.push('}');
        }
        if self.eat('?') {
            self.out.push('?');
        }
        Some(())
    }

    fn count(&mut self) -> Option<()> {
        let before = self.out.len();
        while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
            self.out.push(digit);
        }
        (self.out.len() > before).then_some(())
    }

    /// Reads an escape outside a class. Tells whether a quantifier may follow.
    fn escape(&mut self) -> Option<bool> {
        let boundary = match self.rest.peek()? {
            'b' => "(?-u:\\b)",
            'B' => "(?-u:\\B)",
            _ => {
                match self.escaped()? {
                    Escaped::Char(character) => self.literal(character),
                    Escaped::Class(class) => self.out.push_str(&class),
                }
                return Some(true);
            }
        };
        self.rest.next();
        self.out.push_str(boundary);
        Some(false)
    }

    /// Reads a class, from behind its bracket on.
    fn class(&mut self) -> Option<()> {
        let negated = self.eat('^');
        if self.eat(']') {
            self.out.push_str(if negated { ANYTHING } else { NOTHING });
            return Some(());
        }
        self.out.push_str(if negated { "[^" } else { "[" });
        while !self.eat(']') {
            let low = self.class_atom()?;
            // A hyphen makes a range, unless it comes last.
            let mut ahead = self.rest.clone();
            if ahead.next() != Some('-') || ahead.peek() == Some(&']') {
                match low {
                    Escaped::Char(character) => self.literal(character),
                    Escaped::Class(class) => self.out.push_str(&class),
                }
                continue;
            }
            self.rest = ahead;
            let (Escaped::Char(low), Escaped::Char(high)) = (low, self.class_atom()?) else { return None };
            self.literal(low);
            self.out.push('-');
            self.literal(high);
        }
        self.out.push(']');
        Some(())
    }

    fn class_atom(&mut self) -> Option<Escaped> {
        match self.rest.next()? {
            '\\' => {
                if self.eat('b') {
                    return Some(Escaped::Char('\u{8}'));
                }
                self.escaped()
            }
            character => Some(Escaped::Char(character)),
        }
    }

    /// Reads an escape, from behind its backslash on.
    fn escaped(&mut self) -> Option<Escaped> {
        let class = |class: &str| Some(Escaped::Class(class.into()));
        let character = match self.rest.next()? {
            'd' => return class(DIGIT),
            'D' => return class(NO_DIGIT),
            'w' => return class(WORD),
            'W' => return class(NO_WORD),
            's' => return class(SPACE),
            'S' => return class(NO_SPACE),
            letter @ ('p' | 'P') => return self.property(letter).map(Escaped::Class),
            't' => '\t',
            'n' => '\n',
            'v' => '\u{b}',
            'f' => '\u{c}',
            'r' => '\r',
            '0' if !self.rest.peek().is_some_and(char::is_ascii_digit) => '\0',
            'c' => {
                let letter = self.rest.next_if(char::is_ascii_alphabetic)?;
                char::from_u32(u32::from(letter) % 32)?
            }
            'x' => char::from_u32(self.hex(2)?)?,
            'u' => self.unicode()?,
            // Any other letter or digit is an error or a back-reference.
            other if other.is_ascii_punctuation() => other,
            _ => return None,
        };
        Some(Escaped::Char(character))
    }

    fn property(&mut self, letter: char) -> Option<String> {
        if !self.eat('{') {
            return None;
        }
        let mut class = String::from('\\');
        class.push(letter);
        class.push('{');
        while let Some(character) =
            self.rest.next_if(|character| character.is_ascii_alphanumeric() || "_=".contains(*character))
        {
            class.push(character);
        }
        class.push('}');
        self.eat('}').then_some(class)
    }

    fn unicode(&mut self) -> Option<char> {
        if self.eat('{') {
            let mut code = 0u32;
            let mut digits = 0;
            while let Some(digit) = self.rest.next_if(char::is_ascii_hexdigit) {
                code = code.checked_mul(16)?.checked_add(digit.to_digit(16)?)?;
                digits += 1;
            }
            return (digits > 0 && self.eat('}')).then_some(char::from_u32(code)?);
        }
        let code = self.hex(4)?;
        if !(0xd800..0xdc00).contains(&code) {
            return char::from_u32(code);
        }
        if !(self.eat('\\') && self.eat('u')) {
            return None;
        }
        let low = self.hex(4)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((code - 0xd800) << 10 | low))
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        (0..digits).try_fold(0, |code, _| Some(code << 4 | self.rest.next()?.to_digit(16)?))
    }
}
