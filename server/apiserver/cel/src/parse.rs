//! From tokens to a tree: precedence climbing, and the macros.
//!
//! Ported from the grammar of the CEL specification and the macros of cel-go (`parser/macro.go`, `ext/comprehensions.go`).

use std::sync::Arc;

use crate::ast::{Expr, Field, Fold, FoldKind, Literal, Node};
use crate::error::Issue;
use crate::lex::{Spanned, Token, tokens};

/// cel-go's default for the depth of the tree, and upstream's.
const MAX_DEPTH: usize = 250;
/// How deep brackets may nest: less than cel-go's 250, for a thread's stack is smaller than Go's.
const MAX_NESTING: usize = 150;

const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Words that stand for themselves in the language: escaped as field names.
pub fn is_reserved(word: &str) -> bool {
    matches!(word, "true" | "false" | "null" | "in") || RESERVED.contains(&word)
}

pub(crate) fn parse(source: &str) -> Result<Expr, Issue> {
    let chars: Vec<char> = source.chars().collect();
    let mut parser = Parser { tokens: tokens(&chars)?, next: 0, depth: 0 };
    let expr = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("<EOF>")),
    }
}

struct Parser {
    tokens: Vec<Spanned>,
    next: usize,
    depth: usize,
}

type Parsed = Result<Expr, Issue>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].token
    }
    fn at(&self) -> usize {
        self.tokens[self.next].at
    }
    fn step(&mut self) -> Spanned {
        let token = self.tokens[self.next].clone();
        if self.next + 1 < self.tokens.len() {
            self.next += 1;
        }
        token
    }
    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) if *found == symbol)
    }
    /// Takes `symbol` if it is next, and says where it was.
    fn take(&mut self, symbol: &str) -> Option<usize> {
        self.is(symbol).then(|| self.step().at)
    }
    fn expect(&mut self, symbol: &str) -> Result<usize, Issue> {
        self.take(symbol).ok_or_else(|| self.unexpected(&format!("'{symbol}'")))
    }
    fn unexpected(&self, wanted: &str) -> Issue {
        let found = &self.tokens[self.next];
        let text = if found.token == Token::End { "<EOF>" } else { &found.text };
        Issue::new(found.at, format!("Syntax error: mismatched input '{text}' expecting {wanted}"))
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(Issue::new(self.at(), format!("expression recursion limit exceeded: {MAX_NESTING}")));
        }
        let condition = self.or()?;
        let expr = if let Some(at) = self.take("?") {
            let yes = self.or()?;
            self.expect(":")?;
            let no = self.expression()?;
            Expr::new(Node::Condition(Box::new([condition, yes, no])), at)
        } else {
            condition
        };
        self.depth -= 1;
        bounded(expr)
    }

    fn or(&mut self) -> Parsed {
        let mut terms = vec![(0, self.and()?)];
        while let Some(at) = self.take("||") {
            terms.push((at, self.and()?));
        }
        Ok(balance(terms, Node::Or))
    }

    fn and(&mut self) -> Parsed {
        let mut terms = vec![(0, self.binary(0)?)];
        while let Some(at) = self.take("&&") {
            terms.push((at, self.binary(0)?));
        }
        Ok(balance(terms, Node::And))
    }

    /// Relations, sums and products: an operator takes what binds tighter to its right.
    fn binary(&mut self, lowest: u8) -> Parsed {
        let mut left = self.unary()?;
        while let Some((function, strength)) = self.operator().filter(|(_, strength)| *strength >= lowest) {
            let at = self.step().at;
            let right = self.binary(strength + 1)?;
            left = bounded(call(at, function, vec![left, right]))?;
        }
        Ok(left)
    }

    fn operator(&self) -> Option<(&'static str, u8)> {
        let Token::Symbol(symbol) = self.peek() else { return None };
        Some(match *symbol {
            "==" => ("_==_", 0),
            "!=" => ("_!=_", 0),
            "<=" => ("_<=_", 0),
            ">=" => ("_>=_", 0),
            "<" => ("_<_", 0),
            ">" => ("_>_", 0),
            "in" => ("@in", 0),
            "+" => ("_+_", 1),
            "-" => ("_-_", 1),
            "*" => ("_*_", 2),
            "/" => ("_/_", 2),
            "%" => ("_%_", 2),
            _ => return None,
        })
    }

    fn unary(&mut self) -> Parsed {
        for (symbol, function) in [("!", "!_"), ("-", "-_")] {
            let mut places = Vec::new();
            while let Some(at) = self.take(symbol) {
                places.push(at);
            }
            let Some(&at) = places.first() else { continue };
            if places.len() % 2 == 0 {
                return self.member();
            }
            if symbol == "-"
                && let Some(literal) = self.negative(at)
            {
                return self.suffixes(literal);
            }
            let operand = self.member()?;
            return Ok(call(at, function, vec![operand]));
        }
        self.member()
    }

    /// A number right after a minus is a negative number.
    fn negative(&mut self, at: usize) -> Option<Expr> {
        let value = match self.peek() {
            Token::Literal(Literal::Int(value)) => Literal::Int(value.wrapping_neg()),
            Token::Literal(Literal::Double(value)) => Literal::Double(-value),
            _ => return None,
        };
        self.step();
        Some(Expr::new(Node::Literal(value), at))
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    fn suffixes(&mut self, mut expr: Expr) -> Parsed {
        loop {
            expr = bounded(expr)?;
            if let Some(at) = self.take(".") {
                let optional = self.take("?").is_some();
                let (name, quoted) = self.name()?;
                expr = match (optional, quoted, self.is("(")) {
                    (true, ..) => Expr::new(Node::OptionalSelect(Box::new(expr), name), at),
                    (false, false, true) => self.method(expr, name)?,
                    _ => Expr::new(Node::Select(Box::new(expr), name), at),
                };
            } else if let Some(at) = self.take("[") {
                let optional = self.take("?").is_some();
                let index = self.expression()?;
                self.expect("]")?;
                let (operand, index) = (Box::new(expr), Box::new(index));
                let node =
                    if optional { Node::OptionalIndex(operand, index) } else { Node::Index(operand, index) };
                expr = Expr::new(node, at);
            } else if self.is("{") {
                let Some(name) = qualified(&expr) else { return Ok(expr) };
                expr = self.object(name)?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn name(&mut self) -> Result<(Arc<str>, bool), Issue> {
        match self.peek().clone() {
            Token::Ident(name) => {
                self.step();
                Ok((name, false))
            }
            Token::Quoted(name) => {
                self.step();
                Ok((name, true))
            }
            _ => Err(self.unexpected("IDENTIFIER")),
        }
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        match self.peek().clone() {
            Token::Literal(Literal::Int(i64::MIN)) => Err(Issue::new(at, "invalid int literal")),
            Token::Literal(literal) => {
                self.step();
                Ok(Expr::new(Node::Literal(literal), at))
            }
            Token::Ident(name) => self.identifier(name),
            Token::Symbol(".") => {
                self.step();
                match self.peek().clone() {
                    Token::Ident(name) => self.identifier(name),
                    _ => Err(self.unexpected("IDENTIFIER")),
                }
            }
            Token::Symbol("(") => {
                self.step();
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("[") => self.list(),
            Token::Symbol("{") => self.map(),
            _ => Err(self.unexpected(
                "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
            )),
        }
    }

    fn identifier(&mut self, name: Arc<str>) -> Parsed {
        let at = self.step().at;
        if RESERVED.contains(&&*name) {
            return Err(Issue::new(at, format!("reserved identifier: {name}")));
        }
        if !self.is("(") {
            return Ok(Expr::new(Node::Ident(name), at));
        }
        let (open, arguments) = self.arguments()?;
        if &*name == "has" && arguments.len() == 1 {
            return has(open, arguments);
        }
        Ok(call(open, &name, arguments))
    }

    fn arguments(&mut self) -> Result<(usize, Vec<Expr>), Issue> {
        let open = self.expect("(")?;
        let mut arguments = Vec::new();
        while !self.is(")") {
            arguments.push(self.expression()?);
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect(")")?;
        Ok((open, arguments))
    }

    fn method(&mut self, target: Expr, name: Arc<str>) -> Parsed {
        let (open, arguments) = self.arguments()?;
        expand(open, target, name, arguments)
    }

    fn list(&mut self) -> Parsed {
        let at = self.expect("[")?;
        let mut items = Vec::new();
        while !self.is("]") {
            let optional = self.take("?").is_some();
            items.push((optional, self.expression()?));
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect("]")?;
        Ok(Expr::new(Node::List(items), at))
    }

    fn map(&mut self) -> Parsed {
        let at = self.expect("{")?;
        let mut entries = Vec::new();
        while !self.is("}") {
            let optional = self.take("?").is_some();
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((optional, key, self.expression()?));
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect("}")?;
        Ok(Expr::new(Node::Map(entries), at))
    }

    fn object(&mut self, name: Arc<str>) -> Parsed {
        let at = self.expect("{")?;
        let mut fields = Vec::new();
        while !self.is("}") {
            let optional = self.take("?").is_some();
            let (name, _) = self.name()?;
            let at = self.expect(":")?;
            fields.push(Field { name, optional, value: self.expression()?, at });
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect("}")?;
        Ok(Expr::new(Node::Struct(name, fields), at))
    }
}

/// Refuses a tree that evaluation would descend too deeply into.
fn bounded(expr: Expr) -> Parsed {
    if expr.depth > MAX_DEPTH {
        return Err(Issue::new(expr.at, format!("expression recursion limit exceeded: {MAX_DEPTH}")));
    }
    Ok(expr)
}

fn call(at: usize, function: &str, arguments: Vec<Expr>) -> Expr {
    Expr::new(Node::Call(function.into(), arguments), at)
}

/// Long chains of `&&` become a balanced tree, as in cel-go, so that nothing recurses deeply over them.
fn balance(mut terms: Vec<(usize, Expr)>, join: fn(Box<Expr>, Box<Expr>) -> Node) -> Expr {
    if terms.len() == 1 {
        return terms.remove(0).1;
    }
    let right = terms.split_off(terms.len().div_ceil(2));
    let at = right[0].0;
    let node = join(Box::new(balance(terms, join)), Box::new(balance(right, join)));
    Expr::new(node, at)
}

/// `a.b.c` as one name.
pub(crate) fn qualified(expr: &Expr) -> Option<Arc<str>> {
    match &expr.node {
        Node::Ident(name) => Some(name.clone()),
        Node::Select(operand, field) => Some(format!("{}.{field}", qualified(operand)?).into()),
        _ => None,
    }
}

fn has(at: usize, mut arguments: Vec<Expr>) -> Parsed {
    let argument = arguments.remove(0);
    match argument.node {
        Node::Select(operand, field) => Ok(Expr::new(Node::Has(operand, field), at)),
        _ => Err(Issue::new(argument.at, "invalid argument to has() macro")),
    }
}

fn variable(expr: &Expr) -> Result<Arc<str>, Issue> {
    match &expr.node {
        Node::Ident(name) => Ok(name.clone()),
        _ => Err(Issue::new(expr.at, "argument must be a simple name")),
    }
}

/// Which macro a method call is, if any: its kind, whether it has two variables, and where its filter and body stand.
fn fold_of(name: &str, count: usize) -> Option<(FoldKind, bool, Option<usize>, Option<usize>)> {
    Some(match (name, count) {
        ("all", 2) => (FoldKind::All, false, None, Some(1)),
        ("exists", 2) => (FoldKind::Exists, false, None, Some(1)),
        ("exists_one" | "existsOne", 2) => (FoldKind::ExistsOne, false, None, Some(1)),
        ("all", 3) => (FoldKind::All, true, None, Some(2)),
        ("exists", 3) => (FoldKind::Exists, true, None, Some(2)),
        ("exists_one" | "existsOne", 3) => (FoldKind::ExistsOne, true, None, Some(2)),
        ("map", 2) => (FoldKind::List, false, None, Some(1)),
        ("map", 3) => (FoldKind::List, false, Some(1), Some(2)),
        ("filter", 2) => (FoldKind::List, false, Some(1), None),
        ("transformList", 3) => (FoldKind::List, true, None, Some(2)),
        ("transformList", 4) => (FoldKind::List, true, Some(2), Some(3)),
        ("transformMap", 3) => (FoldKind::Map, true, None, Some(2)),
        ("transformMap", 4) => (FoldKind::Map, true, Some(2), Some(3)),
        ("transformMapEntry", 3) => (FoldKind::Entries, true, None, Some(2)),
        ("transformMapEntry", 4) => (FoldKind::Entries, true, Some(2), Some(3)),
        _ => return None,
    })
}

/// Whether `target.name` is one function's name, such as `sets.contains`.
fn namespaced(target: &Expr, name: &str) -> Option<String> {
    const NAMESPACES: [&str; 6] = ["optional", "sets", "strings", "ip", "format", "jsonpatch"];
    let Node::Ident(space) = &target.node else { return None };
    let full = format!("{space}.{name}");
    (NAMESPACES.contains(&&**space) && crate::decls::overloads(&full).is_some()).then_some(full)
}

fn expand(at: usize, target: Expr, name: Arc<str>, mut arguments: Vec<Expr>) -> Parsed {
    if let Some(full) = namespaced(&target, &name) {
        return Ok(call(at, &full, arguments));
    }
    if matches!(&*name, "optMap" | "optFlatMap") && arguments.len() == 2 {
        let variable = variable(&arguments[0])?;
        let body = Box::new(arguments.remove(1));
        let node = Node::OptionalMap(&*name == "optFlatMap", Box::new(target), variable, body);
        return Ok(Expr::new(node, at));
    }
    let Some((kind, two, filter, body)) = fold_of(&name, arguments.len()) else {
        return Ok(Expr::new(Node::Method(Box::new(target), name, arguments), at));
    };
    let first = variable(&arguments[0])?;
    let second = if two { Some(variable(&arguments[1])?) } else { None };
    let filter = filter.map(|index| arguments[index].clone());
    let body = match body {
        Some(index) => arguments.remove(index),
        None => Expr::new(Node::Ident(first.clone()), arguments[0].at),
    };
    let fold = Fold { kind, range: target, first, second, filter, body };
    Ok(Expr::new(Node::Fold(Box::new(fold)), at))
}
