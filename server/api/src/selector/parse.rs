//! The label selector grammar: a lexer and a recursive-descent parser with upstream's error texts.

use super::{Operator, Requirement};
use crate::go::Quote as _;
use crate::validation::is_qualified_name;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    End,
    Error(String),
    Open,
    Close,
    Comma,
    Not,
    Operator(Operator, &'static str),
    /// An identifier, or a keyword where a value is expected.
    Word(String),
}

impl Token {
    fn literal(&self) -> &str {
        match self {
            Token::End => "",
            Token::Error(text) | Token::Word(text) => text,
            Token::Open => "(",
            Token::Close => ")",
            Token::Comma => ",",
            Token::Not => "!",
            Token::Operator(_, text) => text,
        }
    }
}

const SYMBOLS: &[(&str, Operator)] = &[
    ("==", Operator::DoubleEquals),
    ("!=", Operator::NotEquals),
    ("=", Operator::Equals),
    (">", Operator::GreaterThan),
    ("<", Operator::LessThan),
];

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

struct Lexer<'a>(&'a str);

impl Lexer<'_> {
    fn next(&mut self) -> Token {
        self.0 = self.0.trim_start_matches(is_space);
        let Some(first) = self.0.chars().next() else { return Token::End };
        if !is_symbol(first) {
            let end = self.0.find(|c| is_symbol(c) || is_space(c)).unwrap_or(self.0.len());
            let (word, rest) = self.0.split_at(end);
            self.0 = rest;
            return Token::Word(word.to_owned());
        }
        for (symbol, operator) in SYMBOLS {
            if let Some(rest) = self.0.strip_prefix(symbol) {
                self.0 = rest;
                return Token::Operator(*operator, symbol);
            }
        }
        self.0 = &self.0[1..];
        match first {
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '!' => Token::Not,
            other => Token::Error(format!("error expected: keyword found '{other}'")),
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    ahead: Option<Token>,
}

impl Parser<'_> {
    fn peek(&mut self) -> &Token {
        let lexer = &mut self.lexer;
        self.ahead.get_or_insert_with(|| lexer.next())
    }

    fn take(&mut self) -> Token {
        self.ahead.take().unwrap_or_else(|| self.lexer.next())
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (key, known) = self.key()?;
        if let Some(operator) = known {
            return Requirement::new(&key, operator, []);
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(&key, operator, values)
    }

    fn key(&mut self) -> Result<(String, Option<Operator>), String> {
        let mut token = self.take();
        let absent = token == Token::Not;
        if absent {
            token = self.take();
        }
        let Token::Word(key) = token else {
            return Err(format!("found '{}', expected: identifier", token.literal()));
        };
        let errors = is_qualified_name(&key).join("; ");
        if !errors.is_empty() {
            return Err(format!("key: Invalid value: {}: {errors}", key.quoted()));
        }
        let alone = matches!(self.peek(), Token::End | Token::Comma);
        let operator = match (absent, alone) {
            (true, _) => Some(Operator::DoesNotExist),
            (false, true) => Some(Operator::Exists),
            (false, false) => None,
        };
        Ok((key, operator))
    }

    fn operator(&mut self) -> Result<Operator, String> {
        match self.take() {
            Token::Operator(operator, _) => Ok(operator),
            Token::Word(word) if word == "in" => Ok(Operator::In),
            Token::Word(word) if word == "notin" => Ok(Operator::NotIn),
            token => Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", token.literal())),
        }
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.take() {
            Token::Word(word) => Ok(word),
            token => Err(format!("found '{}', expected: identifier", token.literal())),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.take();
        if open != Token::Open {
            return Err(format!("found '{}' expected: '('", open.literal()));
        }
        let first = self.peek().clone();
        match first {
            Token::Close => {
                self.take();
                Ok(vec![String::new()])
            }
            Token::Word(_) | Token::Comma => {
                let values = self.value_list()?;
                match self.take() {
                    Token::Close => Ok(values),
                    _ => Err(format!("found '{}', expected: ')'", first.literal())),
                }
            }
            other => Err(format!("found '{}', expected: ',', ')' or identifier", other.literal())),
        }
    }

    /// Up to, and without, the closing parenthesis. Empty values are allowed: `(,a)`.
    fn value_list(&mut self) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        loop {
            match self.take() {
                Token::Word(word) => {
                    values.push(word);
                    match self.peek() {
                        Token::Comma => {}
                        Token::Close => return Ok(values),
                        other => return Err(format!("found '{}', expected: ',' or ')'", other.literal())),
                    }
                }
                Token::Comma => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek() {
                        Token::Close => {
                            values.push(String::new());
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.take();
                            values.push(String::new());
                        }
                        _ => {}
                    }
                }
                other => return Err(format!("found '{}', expected: ',', or identifier", other.literal())),
            }
        }
    }
}

/// All requirements of `text`.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { lexer: Lexer(text), ahead: None };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::End => return Ok(requirements),
            Token::Word(_) | Token::Not => {}
            other => {
                return Err(format!(
                    "found '{}', expected: !, identifier, or 'end of string'",
                    other.literal()
                ));
            }
        }
        let requirement =
            parser.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
        requirements.push(requirement);
        match parser.take() {
            Token::End => return Ok(requirements),
            Token::Comma => match parser.peek() {
                Token::Word(_) | Token::Not => {}
                other => {
                    return Err(format!("found '{}', expected: identifier after ','", other.literal()));
                }
            },
            other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.literal())),
        }
    }
}
