//! Tokens to a tree: a function per level of the grammar, loosest first.
//!
//! What needs no message is checked here, with the same result as in Java: bounds in the wrong order,
//! operands that have no order, `= NULL`. A chain of `AND` or `OR` becomes one node, so that a filter
//! with thousands of them is as shallow as one with two.

use std::cmp::Ordering;

use super::{
    DEPTH_MAX, SqlError,
    lexer::{Lexer, Token},
    tree::{Node, Order, Place},
    value::{self, Value},
};

/// Boxed like the nodes: what a level of the grammar takes of the stack is mostly what it passes on.
type Result<T> = std::result::Result<T, Box<SqlError>>;

/// A node, and how deep it is.
struct Part {
    node: Box<Node>,
    depth: u32,
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    /// Where the token begins.
    at: usize,
    /// Calls that are open.
    nesting: u32,
}

pub(super) fn parse(expression: &str) -> Result<Node> {
    let mut parser = Parser { lexer: Lexer::new(expression), token: Token::End, at: 0, nesting: 0 };
    parser.advance()?;
    let part = parser.any()?;
    Ok(*parser.boolean(part)?.node)
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Result<Part> {
        self.chain(Token::Or, Self::all, Node::Any)
    }

    fn all(&mut self) -> Result<Part> {
        self.chain(Token::And, Self::equality, Node::All)
    }

    /// Operands that are joined by `AND` or by `OR`; one alone stays as it is.
    fn chain(
        &mut self,
        joint: Token<'_>,
        operand: fn(&mut Self) -> Result<Part>,
        node: fn(Vec<Node>) -> Node,
    ) -> Result<Part> {
        let first = operand(self)?;
        if self.token != joint {
            return Ok(first);
        }
        let (mut nodes, mut depth) = (Vec::new(), 0);
        let mut next = first;
        loop {
            let part = self.boolean(next)?;
            depth = depth.max(part.depth);
            nodes.push(*part.node);
            if self.token != joint {
                return self.part(node(nodes), depth);
            }
            self.advance()?;
            next = operand(self)?;
        }
    }

    fn equality(&mut self) -> Result<Part> {
        let mut left = self.comparison()?;
        loop {
            left = match self.token {
                Token::Equal => self.equal(left)?,
                Token::NotEqual => {
                    let equal = self.equal(left)?;
                    self.part(Node::Not(equal.node), equal.depth)?
                }
                Token::Is => self.is_null(left)?,
                _ => return Ok(left),
            };
        }
    }

    fn equal(&mut self, left: Part) -> Result<Part> {
        self.advance()?;
        let right = self.comparison()?;
        if !may_be_equal(&left.node, &right.node) {
            return Err(SqlError::Incomparable { at: self.at }.into());
        }
        let depth = left.depth.max(right.depth);
        self.part(Node::Equal([*left.node, *right.node].into()), depth)
    }

    fn is_null(&mut self, left: Part) -> Result<Part> {
        self.advance()?;
        let not = self.token == Token::Not;
        if not {
            self.advance()?;
        }
        self.take(Token::Null, if not { "NULL" } else { "NULL or NOT NULL" })?;
        let part = self.part(Node::IsNull(left.node), left.depth)?;
        if not { self.part(Node::Not(part.node), part.depth) } else { Ok(part) }
    }

    fn comparison(&mut self) -> Result<Part> {
        let mut left = self.unary()?;
        loop {
            left = match self.token {
                Token::Greater => self.order(left, Order::Greater)?,
                Token::GreaterOrEqual => self.order(left, Order::GreaterOrEqual)?,
                Token::Less => self.order(left, Order::Less)?,
                Token::LessOrEqual => self.order(left, Order::LessOrEqual)?,
                Token::Not => {
                    self.advance()?;
                    self.set_or_search(left, true)?
                }
                Token::Between
                | Token::In
                | Token::Contains
                | Token::StartsWith
                | Token::EndsWith => self.set_or_search(left, false)?,
                _ => return Ok(left),
            };
        }
    }

    fn order(&mut self, left: Part, order: Order) -> Result<Part> {
        self.advance()?;
        let right = self.unary()?;
        self.check_order(&[&left.node, &right.node])?;
        let depth = left.depth.max(right.depth);
        self.part(Node::Order(order, [*left.node, *right.node].into()), depth)
    }

    /// The operators that may have a `NOT` before them.
    fn set_or_search(&mut self, left: Part, not: bool) -> Result<Part> {
        match self.token {
            Token::Between => self.between(left, not),
            Token::In => self.is_in(left, not),
            Token::Contains => self.search(left, Place::Anywhere, not),
            Token::StartsWith => self.search(left, Place::Start, not),
            Token::EndsWith => self.search(left, Place::End, not),
            _ => Err(self.unexpected("BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH")),
        }
    }

    fn between(&mut self, operand: Part, not: bool) -> Result<Part> {
        self.advance()?;
        let low = self.unary()?;
        self.take(Token::And, "AND")?;
        let high = self.unary()?;
        self.check_order(&[&operand.node, &low.node, &high.node])?;
        if !not && is_reversed(&low.node, &high.node) {
            return Err(SqlError::Between { at: self.at }.into());
        }
        let depth = operand.depth.max(low.depth).max(high.depth);
        let operands = [*operand.node, *low.node, *high.node].into();
        let node = if not { Node::NotBetween(operands) } else { Node::Between(operands) };
        self.part(node, depth)
    }

    fn is_in(&mut self, operand: Part, not: bool) -> Result<Part> {
        let at = self.at;
        self.advance()?;
        self.take(Token::Open, "(")?;
        let mut texts = vec![self.text()?];
        while self.token == Token::Comma {
            self.advance()?;
            texts.push(self.text()?);
        }
        self.take(Token::Close, ", or )")?;
        let Node::Property(property) = *operand.node else {
            return Err(SqlError::InOperand { at }.into());
        };
        self.part(Node::In { property, texts, not }, 0)
    }

    fn search(&mut self, operand: Part, place: Place, not: bool) -> Result<Part> {
        self.advance()?;
        let text = self.text()?;
        let depth = operand.depth;
        self.part(Node::Search { operand: operand.node, place, text, not }, depth)
    }

    fn unary(&mut self) -> Result<Part> {
        self.nesting += 1;
        if self.nesting > DEPTH_MAX {
            return Err(SqlError::Depth { at: self.at }.into());
        }
        let part = match self.token {
            Token::Plus => {
                self.advance()?;
                self.unary()?
            }
            Token::Minus => {
                self.advance()?;
                let operand = self.unary()?;
                self.part(Node::Negate(operand.node), operand.depth)?
            }
            Token::Not => {
                self.advance()?;
                let operand = self.unary()?;
                let operand = self.boolean(operand)?;
                self.part(Node::Not(operand.node), operand.depth)?
            }
            _ => self.primary()?,
        };
        self.nesting -= 1;
        Ok(part)
    }

    fn primary(&mut self) -> Result<Part> {
        let node = match self.token {
            Token::Open => {
                self.advance()?;
                let inside = self.any()?;
                self.take(Token::Close, "an operator or )")?;
                return Ok(inside);
            }
            Token::Text(_) => Node::Text(self.text()?),
            token => {
                let node = self.leaf(token)?;
                self.advance()?;
                node
            }
        };
        self.part(node, 0)
    }

    fn leaf(&self, token: Token<'_>) -> Result<Node> {
        let constant = match token {
            Token::Name(name) => return Ok(Node::Property(name.into())),
            Token::True => Value::Bool(true),
            Token::False => Value::Bool(false),
            Token::Null => Value::Null,
            Token::Whole(digits) => whole(digits).ok_or_else(|| self.out_of_range(digits))?,
            Token::Fraction(text) => fraction(text).ok_or_else(|| self.out_of_range(text))?,
            _ => return Err(self.unexpected("a property, a number, a text, NOT or (")),
        };
        Ok(Node::Constant(constant))
    }

    /// A text, with its quotes made single.
    fn text(&mut self) -> Result<Box<str>> {
        let Token::Text(text) = self.token else {
            return Err(self.unexpected("a text in quotes"));
        };
        self.advance()?;
        Ok(text.replace("''", "'").into())
    }

    /// In the place of true or false.
    fn boolean(&self, part: Part) -> Result<Part> {
        match *part.node {
            Node::Property(name) => self.part(Node::Cast(name), 0),
            ref node if node.is_boolean() => Ok(part),
            _ => Err(SqlError::NotBoolean { at: self.at }.into()),
        }
    }

    fn check_order(&self, operands: &[&Node]) -> Result<()> {
        let has_order = |node: &&Node| match node {
            Node::Constant(value) => value.is_number(),
            Node::Text(_) => false,
            node => !node.is_boolean(),
        };
        match operands.iter().all(has_order) {
            true => Ok(()),
            false => Err(SqlError::Incomparable { at: self.at }.into()),
        }
    }

    fn part(&self, node: Node, depth_below: u32) -> Result<Part> {
        let depth = depth_below + 1;
        if depth > DEPTH_MAX {
            return Err(SqlError::Depth { at: self.at }.into());
        }
        Ok(Part { node: node.into(), depth })
    }

    fn take(&mut self, token: Token<'_>, wanted: &'static str) -> Result<()> {
        if self.token != token {
            return Err(self.unexpected(wanted));
        }
        self.advance()
    }

    fn advance(&mut self) -> Result<()> {
        (self.token, self.at) = self.lexer.next()?;
        Ok(())
    }

    fn unexpected(&self, wanted: &'static str) -> Box<SqlError> {
        let found = match self.token {
            Token::End => "the end".to_owned(),
            Token::Name(name) => format!("the name {}", shortened(name)),
            Token::Text(text) => format!("the text '{}'", shortened(text)),
            Token::Whole(text) | Token::Fraction(text) => format!("the number {}", shortened(text)),
            token => format!("{token:?}"),
        };
        SqlError::Token { at: self.at, found, wanted }.into()
    }

    fn out_of_range(&self, text: &str) -> Box<SqlError> {
        SqlError::Number { at: self.at, text: shortened(text) }.into()
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The least kind of whole number that holds it.
fn whole(digits: &str) -> Option<Value<'static>> {
    let number: i64 = digits.parse().ok()?;
    Some(i32::try_from(number).map_or(Value::Long(number), Value::Int))
}

/// Zero is refused like what is too great: Java takes its least double for the least of all.
fn fraction(text: &str) -> Option<Value<'static>> {
    let number: f64 = text.parse().ok()?;
    (number.is_finite() && number > 0.0).then_some(Value::Double(number))
}

/// `NULL` is compared by `IS` only; `TRUE = 1` is refused, and `1 = TRUE` merely false.
fn may_be_equal(left: &Node, right: &Node) -> bool {
    let is_null = |node: &Node| matches!(node, Node::Constant(Value::Null));
    if is_null(left) || is_null(right) {
        return false;
    }
    let is_constant = |node: &Node| matches!(node, Node::Constant(_) | Node::Text(_));
    let is_bool = matches!(left, Node::Constant(Value::Bool(_)));
    !(is_bool && is_constant(right) && !right.is_boolean())
}

/// Whether two bounds are numbers and the lower one is greater.
fn is_reversed(low: &Node, high: &Node) -> bool {
    let (Node::Constant(low), Node::Constant(high)) = (low, high) else { return false };
    value::compare(*high, *low).is_ok_and(Ordering::is_lt)
}
