//! Translates patterns of ECMA-262 into the engine's syntax.
//!
//! The two syntaxes differ. So a pattern is parsed strictly here, and written anew in syntax that has the same
//! meaning in both. Syntax that is an error with the flag `u`, but has the same meaning wherever it is allowed, is
//! accepted: `[\w-.]`, `\_`, a brace that is not a quantifier.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::iter::Peekable;
use core::str::Chars;

/// A pattern in the engine's syntax that a text must match, or must not match.
pub(super) struct Clause {
    pub(super) pattern: String,
    pub(super) matches: bool,
}

/// Why a pattern cannot be translated.
pub(super) enum Untranslated {
    /// The text is not a pattern of ECMA-262 or of a similar syntax.
    Malformed,
    /// The pattern cannot be matched in linear time, or is written in another syntax.
    Unsupported,
}

/// Translates a pattern of ECMA-262 (with the flag `u`) into the engine's syntax, as clauses that must all hold.
///
/// A look-ahead at the start of a text, as in `^(?!-)`, and a look-behind at its end become clauses of their own,
/// because their position is known. Elsewhere they are unsupported, and so are back-references and flags.
pub(super) fn translate(source: &str) -> Result<Vec<Clause>, Untranslated> {
    let mut reader = Reader {
        rest: source.chars().peekable(),
        out: String::new(),
        open: Vec::new(),
        has_alternatives: false,
        clauses: Vec::new(),
        is_unsupported: false,
    };
    reader.pattern().ok_or(Untranslated::Malformed)?;
    let Reader { out, mut clauses, .. } = reader;
    if reader.is_unsupported || reader.has_alternatives && !clauses.is_empty() {
        return Err(Untranslated::Unsupported);
    }
    clauses.push(Clause { pattern: out, matches: true });
    Ok(clauses)
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// The open groups, outermost first; look-arounds are `Some`.
    open: Vec<Option<Look>>,
    /// Whether there is a `|` outside all groups.
    has_alternatives: bool,
    clauses: Vec<Clause>,
    /// Whether the pattern is unsupported. Parsing continues, because the pattern may also be malformed.
    is_unsupported: bool,
}

/// A look-around assertion.
#[derive(Clone, Copy)]
struct Look {
    /// The position in the output where its group starts.
    start: usize,
    is_ahead: bool,
    matches: bool,
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

/// The meaning of an escape.
enum Escaped {
    Char(char),
    Class(String),
}

impl Reader<'_> {
    fn eat(&mut self, expected: char) -> bool {
        self.rest.next_if_eq(&expected).is_some()
    }

    /// Writes a literal character.
    fn literal(&mut self, character: char) {
        // Writing to a string cannot fail.
        let _ = write!(self.out, "\\x{{{:x}}}", u32::from(character));
    }

    fn written(&mut self, escaped: Escaped) {
        match escaped {
            Escaped::Char(character) => self.literal(character),
            Escaped::Class(class) => self.out.push_str(&class),
        }
    }

    /// Parses the rest of the pattern; `None` when it is malformed.
    fn pattern(&mut self) -> Option<()> {
        // Whether a quantifier may follow.
        let mut is_atom = false;
        while let Some(character) = self.rest.next() {
            is_atom = match character {
                '(' => {
                    self.group();
                    false
                }
                ')' => {
                    let look = self.open.pop()?;
                    self.out.push(')');
                    if let Some(look) = look {
                        self.look(look);
                    }
                    look.is_none()
                }
                '|' | '^' => {
                    self.has_alternatives |= character == '|' && self.open.is_empty();
                    self.out.push(character);
                    false
                }
                '$' => {
                    self.out.push_str("\\z");
                    false
                }
                '{' if !self.is_counted() => {
                    self.literal(character);
                    true
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
                _ => {
                    self.literal(character);
                    true
                }
            };
        }
        self.open.is_empty().then_some(())
    }

    /// Reads the text after an opening parenthesis. Captures become plain groups.
    fn group(&mut self) {
        let start = self.out.len();
        self.out.push_str("(?:");
        let mut look = None;
        if self.eat('?') {
            let is_behind = self.eat('<');
            match self.rest.peek() {
                Some(sign @ ('=' | '!')) => {
                    look = Some(Look { start, is_ahead: !is_behind, matches: *sign == '=' });
                    self.rest.next();
                }
                _ if is_behind => {
                    let is_name = |character: &char| character.is_alphanumeric() || "_$".contains(*character);
                    let mut is_named = false;
                    while self.rest.next_if(is_name).is_some() {
                        is_named = true;
                    }
                    self.is_unsupported |= !(self.eat('>') && is_named);
                }
                _ => self.is_unsupported |= !self.eat(':'),
            }
        }
        self.open.push(look);
    }

    /// Turns a finished look-around into a clause, if it is at the start or the end of the text.
    fn look(&mut self, look: Look) {
        let group = self.out.split_off(look.start);
        let (is_at_edge, pattern) = if look.is_ahead {
            (self.out == "^", ["^", &group].concat())
        } else {
            (self.rest.clone().eq("$".chars()), [&group, "\\z"].concat())
        };
        self.is_unsupported |= !is_at_edge || !self.open.is_empty();
        self.clauses.push(Clause { pattern, matches: look.matches });
    }

    /// Whether the text after a brace makes it a quantifier.
    fn is_counted(&mut self) -> bool {
        let mut ahead = self.rest.clone();
        let mut digits = || {
            let mut count = 0;
            while ahead.next_if(char::is_ascii_digit).is_some() {
                count += 1;
            }
            let next = ahead.next();
            (count, next)
        };
        match digits() {
            (1.., Some('}')) => true,
            (first, Some(',')) => {
                let is_closed = digits().1 == Some('}');
                // Other syntaxes read `{,n}` as a count from zero.
                self.is_unsupported |= first == 0 && is_closed;
                first > 0 && is_closed
            }
            _ => false,
        }
    }

    fn quantifier(&mut self, first: char) -> Option<()> {
        self.out.push(first);
        if first == '{' {
            let min = self.count();
            if self.eat(',') {
                self.out.push(',');
                let max = self.count();
                if max.is_some_and(|max| min.is_some_and(|min| min > max)) {
                    return None;
                }
            }
            self.rest.next();
            self.out.push('}');
        }
        if self.eat('?') {
            self.out.push('?');
        }
        // Other syntaxes read this as a possessive quantifier.
        self.is_unsupported |= self.eat('+');
        Some(())
    }

    fn count(&mut self) -> Option<u64> {
        let start = self.out.len();
        while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
            self.out.push(digit);
        }
        self.out.get(start..)?.parse().ok()
    }

    /// Reads an escape outside a class. Returns whether a quantifier may follow.
    fn escape(&mut self) -> Option<bool> {
        let boundary = match self.rest.peek()? {
            'b' => "(?-u:\\b)",
            'B' => "(?-u:\\B)",
            _ => {
                let escaped = self.escaped()?;
                self.written(escaped);
                return Some(true);
            }
        };
        self.rest.next();
        self.out.push_str(boundary);
        Some(false)
    }

    /// Reads a class, after its opening bracket.
    fn class(&mut self) -> Option<()> {
        let negated = self.eat('^');
        if self.eat(']') {
            self.out.push_str(if negated { ANYTHING } else { NOTHING });
            return Some(());
        }
        self.out.push_str(if negated { "[^" } else { "[" });
        while !self.eat(']') {
            let low = self.class_atom()?;
            // A hyphen makes a range, unless it is last.
            let mut ahead = self.rest.clone();
            if ahead.next() != Some('-') || ahead.peek() == Some(&']') {
                self.written(low);
                continue;
            }
            self.rest = ahead;
            let high = self.class_atom()?;
            if let (Escaped::Char(low), Escaped::Char(high)) = (&low, &high) {
                if low > high {
                    return None;
                }
                self.literal(*low);
                self.out.push('-');
                self.literal(*high);
                continue;
            }
            // There is no range between classes, so the hyphen is literal.
            for part in [low, Escaped::Char('-'), high] {
                self.written(part);
            }
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

    /// Reads an escape, after its backslash.
    fn escaped(&mut self) -> Option<Escaped> {
        let escape = self.rest.next()?;
        let known = self.known(escape);
        self.is_unsupported |= known.is_none();
        Some(known.unwrap_or(Escaped::Char(escape)))
    }

    /// The meaning of an escape; `None` for other letters and digits, which are back-references or have different
    /// meanings in other syntaxes.
    fn known(&mut self, escape: char) -> Option<Escaped> {
        let class = |class: &str| Some(Escaped::Class(class.into()));
        let character = match escape {
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
            other if !other.is_ascii_alphanumeric() => other,
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
        (0..digits).try_fold(0, |code, _| {
            Some(code << 4 | self.rest.next_if(char::is_ascii_hexdigit)?.to_digit(16)?)
        })
    }
}
