//! Values and how they compare.
//!
//! Whole numbers of 32 and of 64 bits are two kinds, because a text that meets one of them must fit
//! in it: `a = 1` fails on the text `3000000000`, and `a = 3000000000` takes the text `1`.

use std::cmp::Ordering;

use super::{ValueError, number};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

use Value::{Bool, Double, Int, Long, Null, Text};

impl Value<'_> {
    /// The number with its sign turned; null for anything else.
    pub fn negated(self) -> Self {
        match self {
            Int(number) => Int(number.wrapping_neg()),
            Long(number) => Long(number.wrapping_neg()),
            Double(number) => Double(-number),
            Null | Bool(_) | Text(_) => Null,
        }
    }

    pub fn is_number(self) -> bool {
        matches!(self, Int(_) | Long(_) | Double(_))
    }
}

/// `left = right`. Null on the right alone is false, on the left alone null, on both sides true.
pub(super) fn equal(left: Value<'_>, right: Value<'_>) -> Result<Option<bool>, ValueError> {
    match (left, right) {
        (Null, Null) => Ok(Some(true)),
        (Null, _) => Ok(None),
        (_, Null) => Ok(Some(false)),
        _ => Ok(Some(compare(left, right)? == Ordering::Equal)),
    }
}

/// Which is greater, for `<` and its like, where neither is null: texts are numbers then.
pub(super) fn order(left: Value<'_>, right: Value<'_>) -> Result<Ordering, ValueError> {
    let (Text(l), Text(r)) = (left, right) else { return compare(left, right) };
    let double = |text| number::double(text).ok_or(ValueError::TextOrder);
    Ok(compare_doubles(double(l)?, double(r)?))
}

/// Texts become what the other side is. Kinds that do not go together count as less.
pub(super) fn compare(left: Value<'_>, right: Value<'_>) -> Result<Ordering, ValueError> {
    Ok(match (left, right) {
        (Text(l), Text(r)) => l.cmp(r),
        (Text(l), Bool(r)) => l.eq_ignore_ascii_case("true").cmp(&r),
        (Bool(_), Text(_)) => return Err(ValueError::Kind),
        (Text(l), r) if r.is_number() => compare_numbers(read_as(r, l)?, r),
        (l, Text(r)) if l.is_number() => compare_numbers(l, read_as(l, r)?),
        (Bool(l), Bool(r)) => l.cmp(&r),
        (l, r) => compare_numbers(l, r),
    })
}

/// Reads a text as a number of the same kind as `like`.
fn read_as(like: Value<'_>, text: &str) -> Result<Value<'static>, ValueError> {
    match like {
        Int(_) => number::int(text).map(Int),
        Long(_) => number::long(text).map(Long),
        _ => number::double(text).map(Double),
    }
    .ok_or(ValueError::NotANumber)
}

fn compare_numbers(left: Value<'_>, right: Value<'_>) -> Ordering {
    match (left, right) {
        (Double(l), r) => double(r).map_or(Ordering::Less, |r| compare_doubles(l, r)),
        (l, Double(r)) => double(l).map_or(Ordering::Less, |l| compare_doubles(l, r)),
        (l, r) => long(l).zip(long(r)).map_or(Ordering::Less, |(l, r)| l.cmp(&r)),
    }
}

fn long(value: Value<'_>) -> Option<i64> {
    match value {
        Int(number) => Some(number.into()),
        Long(number) => Some(number),
        _ => None,
    }
}

fn double(value: Value<'_>) -> Option<f64> {
    match value {
        Double(number) => Some(number),
        other => long(other).map(|number| number as f64),
    }
}

/// All numbers have an order: -0 is below 0, and what is no number above all. There is one such value
/// only, and it has no sign ([`number::double`]).
fn compare_doubles(left: f64, right: f64) -> Ordering {
    left.total_cmp(&right)
}
