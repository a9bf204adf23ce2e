//! The compiled expression, and its value for a message.

use super::{
    ValueError,
    value::{self, Value},
};

/// A result of logic: true, false or null.
type Truth = Result<Option<bool>, ValueError>;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Constant(Value<'static>),
    Text(Box<str>),
    Property(Box<str>),
    Negate(Box<Node>),
    Not(Box<Node>),
    /// A property in the place of true or false. It is text, hence never true.
    Cast(Box<str>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Equal(Box<[Node; 2]>),
    IsNull(Box<Node>),
    Order(Order, Box<[Node; 2]>),
    /// An operand and its bounds.
    Between(Box<[Node; 3]>),
    NotBetween(Box<[Node; 3]>),
    In {
        property: Box<str>,
        texts: Vec<Box<str>>,
        not: bool,
    },
    Search {
        operand: Box<Node>,
        place: Place,
        text: Box<str>,
        not: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// Where a text is looked for in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    Start,
    End,
}

impl Node {
    /// Whether its value is always true, false or null.
    pub fn is_boolean(&self) -> bool {
        match self {
            Self::Constant(value) => matches!(value, Value::Null | Value::Bool(_)),
            Self::Text(_) | Self::Property(_) | Self::Negate(_) => false,
            _ => true,
        }
    }

    pub fn truth<'a>(&'a self, lookup: &impl Fn(&str) -> Option<&'a str>) -> Truth {
        match self {
            Self::Constant(Value::Bool(truth)) => Ok(Some(*truth)),
            Self::Constant(_) | Self::Text(_) | Self::Property(_) | Self::Negate(_) => Ok(None),
            Self::Not(operand) => Ok(operand.truth(lookup)?.map(|truth| !truth)),
            Self::Cast(property) => Ok(lookup(property).map(|_| false)),
            Self::All(nodes) => fold(nodes, lookup, false),
            Self::Any(nodes) => fold(nodes, lookup, true),
            Self::Equal(sides) => {
                let [left, right] = &**sides;
                value::equal(left.value(lookup)?, right.value(lookup)?)
            }
            Self::IsNull(operand) => Ok(Some(operand.value(lookup)? == Value::Null)),
            Self::Order(order, sides) => {
                let [left, right] = &**sides;
                order.holds(left, right, lookup)
            }
            Self::Between(operands) => {
                let [operand, low, high] = &**operands;
                let above = || Order::GreaterOrEqual.holds(operand, low, lookup);
                let below = || Order::LessOrEqual.holds(operand, high, lookup);
                decide([&above, &below], false)
            }
            Self::NotBetween(operands) => {
                let [operand, low, high] = &**operands;
                let below = || Order::Less.holds(operand, low, lookup);
                let above = || Order::Greater.holds(operand, high, lookup);
                decide([&below, &above], true)
            }
            Self::In { property, texts, not } => {
                Ok(lookup(property).map(|text| texts.iter().any(|one| **one == *text) != *not))
            }
            // The empty text is nowhere, and the operand is not looked at: it cannot fail.
            Self::Search { text, .. } if text.is_empty() => Ok(Some(false)),
            Self::Search { operand, place, text, not } => {
                Ok(Some(place.holds(operand.value(lookup)?, text, *not)))
            }
        }
    }

    fn value<'a>(
        &'a self,
        lookup: &impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Value<'a>, ValueError> {
        Ok(match self {
            Self::Constant(value) => *value,
            Self::Text(text) => Value::Text(text),
            Self::Property(name) => lookup(name).map_or(Value::Null, Value::Text),
            Self::Negate(operand) => operand.value(lookup)?.negated(),
            logic => logic.truth(lookup)?.map_or(Value::Null, Value::Bool),
        })
    }
}

/// `OR` over all for `decisive` true, `AND` for false: the first that decides ends it, so that what
/// comes later cannot fail; else null, if there is one.
fn fold<'a>(nodes: &'a [Node], lookup: &impl Fn(&str) -> Option<&'a str>, decisive: bool) -> Truth {
    let mut result = Some(!decisive);
    for node in nodes {
        match node.truth(lookup)? {
            Some(truth) if truth == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

/// [`fold`] for two conditions that are no nodes.
fn decide(conditions: [&dyn Fn() -> Truth; 2], decisive: bool) -> Truth {
    let mut result = Some(!decisive);
    for condition in conditions {
        match condition()? {
            Some(truth) if truth == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

impl Order {
    /// Null if a side is; the right one is not looked at if the left one is.
    fn holds<'a>(
        self,
        left: &'a Node,
        right: &'a Node,
        lookup: &impl Fn(&str) -> Option<&'a str>,
    ) -> Truth {
        let left = left.value(lookup)?;
        if left == Value::Null {
            return Ok(None);
        }
        let right = right.value(lookup)?;
        if right == Value::Null {
            return Ok(None);
        }
        let order = value::order(left, right)?;
        Ok(Some(match self {
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
        }))
    }
}

impl Place {
    /// What is no text holds nothing: false with `NOT` as without.
    fn holds(self, value: Value<'_>, text: &str, not: bool) -> bool {
        let Value::Text(value) = value else { return false };
        let found = match self {
            Self::Anywhere => value.contains(text),
            Self::Start => value.starts_with(text),
            Self::End => value.ends_with(text),
        };
        found != not
    }
}
