//! From text to tokens, as CEL.g4 of cel-go defines them.

use std::sync::Arc;

use crate::ast::Literal;
use crate::error::Issue;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Literal(Literal),
    Ident(Arc<str>),
    /// `` `a-b` ``: a name that is no identifier.
    Quoted(Arc<str>),
    Symbol(&'static str),
    End,
}

/// A token, where it begins and how it was written.
#[derive(Clone, Debug)]
pub(crate) struct Spanned {
    pub token: Token,
    pub at: usize,
    pub text: String,
}

const SYMBOLS: [&str; 27] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":",
    "+", "*", "/", "%", "=", "&", "|",
];

pub(crate) fn tokens(source: &[char]) -> Result<Vec<Spanned>, Issue> {
    let mut lexer = Lexer { source, at: 0 };
    let mut all = Vec::new();
    loop {
        lexer.skip_space();
        let at = lexer.at;
        let token = lexer.next()?;
        let text = source[at..lexer.at].iter().collect();
        let end = token == Token::End;
        all.push(Spanned { token, at, text });
        if end {
            return Ok(all);
        }
    }
}

struct Lexer<'a> {
    source: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.source.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip_space(&mut self) {
        loop {
            if self.at < self.source.len() && matches!(self.peek(0), ' ' | '\t' | '\r' | '\n' | '\u{c}') {
                self.at += 1;
            } else if self.peek(0) == '/' && self.peek(1) == '/' {
                while self.at < self.source.len() && self.peek(0) != '\n' {
                    self.at += 1;
                }
            } else {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<Token, Issue> {
        if self.at >= self.source.len() {
            return Ok(Token::End);
        }
        let first = self.peek(0);
        if let Some(prefix) = self.string_prefix() {
            return self.string(prefix);
        }
        if first.is_ascii_digit() || (first == '.' && self.peek(1).is_ascii_digit()) {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            return Ok(self.word());
        }
        if first == '`' {
            return self.quoted();
        }
        for symbol in SYMBOLS {
            if symbol.chars().enumerate().all(|(index, c)| self.peek(index) == c) {
                self.at += symbol.len();
                return if matches!(symbol, "=" | "&" | "|") {
                    // the half of a symbol, and what is not its other half
                    let other = self.source.get(self.at).map(|c| escaped(*c)).unwrap_or_default();
                    Err(unrecognized(self.at - symbol.len(), &format!("{symbol}{other}")))
                } else {
                    Ok(Token::Symbol(symbol))
                };
            }
        }
        Err(unrecognized(self.at, &first.to_string()))
    }

    fn word(&mut self) -> Token {
        let from = self.at;
        while self.peek(0).is_ascii_alphanumeric() || self.peek(0) == '_' {
            self.at += 1;
        }
        let text: String = self.source[from..self.at].iter().collect();
        match text.as_str() {
            "true" => Token::Literal(Literal::Bool(true)),
            "false" => Token::Literal(Literal::Bool(false)),
            "null" => Token::Literal(Literal::Null),
            "in" => Token::Symbol("in"),
            _ => Token::Ident(text.into()),
        }
    }

    fn quoted(&mut self) -> Result<Token, Issue> {
        let from = self.at;
        self.at += 1;
        while self.at < self.source.len() && self.peek(0) != '`' {
            self.at += 1;
        }
        if self.at >= self.source.len() {
            return Err(unrecognized(from, "`"));
        }
        self.at += 1;
        Ok(Token::Quoted(self.source[from + 1..self.at - 1].iter().collect::<String>().into()))
    }

    fn number(&mut self) -> Result<Token, Issue> {
        let from = self.at;
        if self.peek(0) == '0' && matches!(self.peek(1), 'x' | 'X') && self.peek(2).is_ascii_hexdigit() {
            self.at += 2;
            while self.peek(0).is_ascii_hexdigit() {
                self.at += 1;
            }
            return self.integer(from, from + 2, 16);
        }
        let mut double = false;
        self.digits();
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            double = true;
            self.at += 1;
            self.digits();
        }
        let sign = usize::from(matches!(self.peek(1), '+' | '-'));
        if matches!(self.peek(0), 'e' | 'E') && self.peek(1 + sign).is_ascii_digit() {
            double = true;
            self.at += 1 + sign;
            self.digits();
        }
        if !double {
            return self.integer(from, from, 10);
        }
        let text: String = self.source[from..self.at].iter().collect();
        let value = text.parse().map_err(|_| Issue::new(from, "invalid double literal"))?;
        Ok(Token::Literal(Literal::Double(value)))
    }

    fn digits(&mut self) {
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
    }

    fn integer(&mut self, from: usize, digits: usize, radix: u32) -> Result<Token, Issue> {
        let text: String = self.source[digits..self.at].iter().collect();
        if matches!(self.peek(0), 'u' | 'U') {
            self.at += 1;
            let value =
                u64::from_str_radix(&text, radix).map_err(|_| Issue::new(from, "invalid uint literal"))?;
            return Ok(Token::Literal(Literal::Uint(value)));
        }
        // 9223372036854775808 is one only after a minus: the parser looks at it again
        let value = u64::from_str_radix(&text, radix).map_err(|_| Issue::new(from, "invalid int literal"))?;
        match i64::try_from(value) {
            Ok(value) => Ok(Token::Literal(Literal::Int(value))),
            Err(_) if value == i64::MIN.unsigned_abs() => Ok(Token::Literal(Literal::Int(i64::MIN))),
            Err(_) => Err(Issue::new(from, "invalid int literal")),
        }
    }

    /// How many characters stand before the quote, whether it is raw, and whether it is bytes.
    fn string_prefix(&self) -> Option<(usize, bool, bool)> {
        let (mut raw, mut bytes) = (false, false);
        for ahead in 0..3 {
            match self.peek(ahead) {
                '\'' | '"' => return Some((ahead, raw, bytes)),
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes => bytes = true,
                _ => return None,
            }
        }
        None
    }

    fn string(&mut self, (ahead, raw, bytes): (usize, bool, bool)) -> Result<Token, Issue> {
        let from = self.at;
        self.at += ahead;
        let quote = self.peek(0);
        let long = self.peek(1) == quote && self.peek(2) == quote;
        let width = if long { 3 } else { 1 };
        self.at += width;
        let mut text = String::new();
        let mut octets = Vec::new();
        loop {
            if self.at >= self.source.len() || (!long && self.peek(0) == '\n') {
                return Err(unrecognized(
                    from,
                    &self.source[from..self.at.min(self.source.len())].iter().collect::<String>(),
                ));
            }
            if (0..width).all(|index| self.peek(index) == quote) {
                self.at += width;
                break;
            }
            if self.peek(0) == '\\' && !raw {
                match self.escape(bytes)? {
                    Escape::Char(c) => push(&mut text, &mut octets, bytes, c),
                    Escape::Byte(byte) => octets.push(byte),
                }
            } else {
                if self.peek(0) == '\\' && raw {
                    push(&mut text, &mut octets, bytes, '\\');
                    self.at += 1;
                }
                push(&mut text, &mut octets, bytes, self.peek(0));
                self.at += 1;
            }
        }
        Ok(Token::Literal(if bytes { Literal::Bytes(octets.into()) } else { Literal::String(text.into()) }))
    }

    fn escape(&mut self, bytes: bool) -> Result<Escape, Issue> {
        let from = self.at;
        let c = self.peek(1);
        self.at += 2;
        let plain = match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '\'' | '"' | '`' | '?' => c,
            'x' | 'X' => return self.coded(from, 2, 16, bytes),
            'u' if !bytes => return self.coded(from, 4, 16, false),
            'U' if !bytes => return self.coded(from, 8, 16, false),
            '0'..='3' => {
                self.at -= 1;
                return self.coded(from, 3, 8, bytes);
            }
            _ => return Err(unrecognized(from, &format!("\\{c}"))),
        };
        Ok(Escape::Char(plain))
    }

    fn coded(&mut self, from: usize, width: usize, radix: u32, bytes: bool) -> Result<Escape, Issue> {
        let digits: String = (0..width).map(|index| self.peek(index)).collect();
        self.at += width;
        let code = u32::from_str_radix(&digits, radix).map_err(|_| unrecognized(from, "\\"))?;
        if bytes {
            return Ok(Escape::Byte(code as u8));
        }
        char::from_u32(code).map(Escape::Char).ok_or_else(|| Issue::new(from, "invalid unicode code point"))
    }
}

enum Escape {
    Char(char),
    Byte(u8),
}

fn push(text: &mut String, octets: &mut Vec<u8>, bytes: bool, c: char) {
    if bytes {
        octets.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        text.push(c);
    }
}

/// As ANTLR shows a character that is not seen.
fn escaped(c: char) -> String {
    match c {
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        '\r' => "\\r".to_owned(),
        c => c.to_string(),
    }
}

fn unrecognized(at: usize, text: &str) -> Issue {
    Issue::new(at, format!("Syntax error: token recognition error at: '{text}'"))
}
