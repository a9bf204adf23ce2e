//! SQL92 expressions over the properties of a message, as subscriptions carry them.
//!
//! [`Sql::compile`] reads an expression once, when a consumer subscribes; [`Sql::matches`] decides for
//! one message after another and allocates nothing. The language, its grammar and each of its corners
//! are those of the 5.x broker in Java, because a consumer that moves from one broker to the other
//! must see the same messages:
//!
//! | level, loosest first | operators |
//! |---|---|
//! | 1 | `OR` |
//! | 2 | `AND` |
//! | 3 | `=`, `<>`, `IS [NOT] NULL` |
//! | 4 | `>`, `>=`, `<`, `<=`, `[NOT] BETWEEN … AND …`, `[NOT] IN ('…', …)`, `[NOT] CONTAINS '…'`, `STARTSWITH`, `ENDSWITH` |
//! | 5 | `+`, `-`, `NOT` |
//! | 6 | literal, property, `( … )` |
//!
//! What surprises:
//!
//! * Properties are text. Compared with a number they are read as one of *its* type, so that `a > 1`
//!   fails on the text `1.5`, and `a > 1.0` does not. A comparison that fails ends the evaluation; the
//!   message does not match, whatever another branch would have said.
//! * A missing property is null, and logic has three values; a message matches if the whole is true.
//! * Text has equality only: `a > 'x'` is refused, `a > b` compares both as numbers.
//! * The expression ends where it can end: what follows a complete one is not looked at beyond its
//!   first token.
//!
//! | file | what |
//! |---|---|
//! | `lexer` | text to tokens |
//! | `parser` | tokens to a tree, with the checks that need no message |
//! | `tree` | the tree, and its value for a message |
//! | `value` | values and how they compare |
//! | `number` | text to numbers |
//!
//! Invariants: nothing here panics; the depth of a tree is bounded ([`DEPTH_MAX`]), and with it the
//! stack that parsing, evaluating and dropping take.

mod lexer;
mod number;
mod parser;
mod tree;
mod value;

use thiserror::Error;

use crate::properties;

/// Nesting of an expression: parentheses, signs and operators inside of one another. The broker in
/// Java refuses only what overflows its stack, at some thousands.
pub const DEPTH_MAX: u32 = 256;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Sql {
    tree: tree::Node,
}

/// Why an expression is refused. Positions count bytes from the start.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SqlError {
    /// No token begins like this.
    #[error("{found:?} at {at} begins no word, number, text or operator")]
    Character {
        /// Where.
        at: usize,
        /// What is there.
        found: char,
    },
    /// A text lacks its second quote.
    #[error("the text that begins at {at} is not closed")]
    OpenText {
        /// Where it begins.
        at: usize,
    },
    /// The grammar asks for something else.
    #[error("{found} at {at}, where {wanted} is expected")]
    Token {
        /// Where.
        at: usize,
        /// What is there.
        found: String,
        /// What could be there.
        wanted: &'static str,
    },
    /// A whole number beyond 64 bits, a fraction that is zero or infinite as a double.
    #[error("the number {text} at {at} is out of range")]
    Number {
        /// Where.
        at: usize,
        /// The number.
        text: String,
    },
    /// A number or a text where true or false is needed.
    #[error("the operand that ends at {at} is neither true nor false")]
    NotBoolean {
        /// Where it ends.
        at: usize,
    },
    /// An operand that can stand at no side of this comparison.
    #[error("an operand of the comparison that ends at {at} cannot be compared")]
    Incomparable {
        /// Where it ends.
        at: usize,
    },
    /// The bounds of a `BETWEEN` are in the wrong order.
    #[error("the lower bound of the BETWEEN that ends at {at} is above its upper bound")]
    Between {
        /// Where it ends.
        at: usize,
    },
    /// `IN` after something that is no property.
    #[error("IN at {at} needs a property before it")]
    InOperand {
        /// Where.
        at: usize,
    },
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} at {at}")]
    Depth {
        /// Where.
        at: usize,
    },
}

/// Why an expression has no value for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// A text that is compared with a number is not one of its type.
    #[error("a text is compared with a number and is none")]
    NotANumber,
    /// Two texts are compared by size and are not both numbers.
    #[error("texts have no order")]
    TextOrder,
    /// True or false is compared with a text on its right.
    #[error("true or false is compared with a text")]
    Kind,
}

impl Sql {
    /// Reads an expression.
    pub fn compile(expression: &str) -> Result<Self, SqlError> {
        match parser::parse(expression) {
            Ok(tree) => Ok(Self { tree }),
            Err(error) => Err(*error),
        }
    }

    /// Whether a message with these [`properties`] matches.
    pub fn matches(&self, properties: &str) -> bool {
        self.evaluate(&|name: &str| properties::get(properties, name)) == Ok(Some(true))
    }

    /// The value for a message whose properties `lookup` finds; `None` is null.
    pub fn evaluate<'a>(
        &'a self,
        lookup: &impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<bool>, ValueError> {
        self.tree.truth(lookup)
    }
}

#[cfg(test)]
mod tests;
