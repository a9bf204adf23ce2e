use super::*;

/// Properties `name=value`, joined by blanks, as a message stores them.
fn stored(pairs: &str) -> String {
    let mut properties = String::new();
    for (name, value) in pairs.split_whitespace().filter_map(|pair| pair.split_once('=')) {
        properties::append(&mut properties, name, value);
    }
    properties
}

fn matches(expression: &str, pairs: &str) -> bool {
    Sql::compile(expression).unwrap().matches(&stored(pairs))
}

fn refused(expression: &str) -> SqlError {
    Sql::compile(expression).unwrap_err()
}

#[test]
fn properties_are_read_as_the_number_they_meet() {
    assert!(matches("a > 1", "a=2") && !matches("a > 1", "a=1.5"));
    assert!(matches("a > 1.1", "a=1.5") && matches("a > 1.1", "a=2"));
    assert!(matches("a = 3000000000", "a=3000000000") && !matches("a <> 1", "a=3000000000"));
    assert!(matches("a > b", "a=1e1 b=9") && !matches("a > b", "a=x b=9"));
}

#[test]
fn a_failed_comparison_ends_it_all() {
    assert!(!matches("a > 1 OR b = 'x'", "a=text b=x"));
    assert!(matches("b = 'x' OR a > 1", "a=text b=x"));
}

#[test]
fn null_is_neither_true_nor_false() {
    assert!(!matches("a = 1", "") && !matches("NOT (a = 1)", "") && !matches("a <> 1", ""));
    assert!(matches("a IS NULL AND b IS NOT NULL", "b=1"));
    assert!(matches("a = b", "") && matches("a <> b", "a=1") && !matches("a <> b", "b=1"));
}

#[test]
fn precedence_is_not_then_comparison_then_and_then_or() {
    assert!(matches("a = 1 OR b = 1 AND c = 1", "a=1 b=2 c=2"));
    assert!(!matches("(a = 1 OR b = 1) AND c = 1", "a=1 b=2 c=2"));
    assert!(matches("NOT (a = 1) AND c = 2", "a=2 c=2"));
}

#[test]
fn texts_are_found_in_texts() {
    assert!(matches("a CONTAINS 'bc' AND a STARTSWITH 'a' AND a ENDSWITH 'd'", "a=abcd"));
    assert!(matches("a NOT CONTAINS 'x'", "a=abcd") && !matches("a NOT CONTAINS 'x'", ""));
    assert!(!matches("a CONTAINS ''", "a=b") && !matches("a NOT CONTAINS ''", "a=b"));
    assert!(matches("a in ('x', 'it''s')", "a=it's") && !matches("a NOT IN ('x')", ""));
}

#[test]
fn bounds_belong_to_between() {
    assert!(matches("a BETWEEN 1 AND 3", "a=3") && !matches("a NOT BETWEEN 1 AND 3", "a=3"));
    assert!(matches("a between -3 and -1 and b = 1", "a=-2 b=1"));
    assert_eq!(refused("a BETWEEN 3 AND 1"), SqlError::Between { at: 17 });
}

#[test]
fn what_is_refused_is_named_with_its_place() {
    let cases = [
        ("", "the end at 0, where a property, a number, a text, NOT or ( is expected"),
        ("a = @", "'@' at 4 begins no word, number, text or operator"),
        ("a = 'x", "the text that begins at 4 is not closed"),
        ("a IN (1)", "the number 1 at 6, where a text in quotes is expected"),
        ("1 IN ('a')", "IN at 2 needs a property before it"),
        ("a > 'x'", "an operand of the comparison that ends at 7 cannot be compared"),
        ("a = NULL", "an operand of the comparison that ends at 8 cannot be compared"),
        ("a > 9223372036854775808", "the number 9223372036854775808 at 4 is out of range"),
        ("a > 0.0", "the number 0.0 at 4 is out of range"),
        ("1", "the operand that ends at 1 is neither true nor false"),
        (
            "a NOT b",
            "the name b at 6, where BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH is expected",
        ),
    ];
    for (expression, error) in cases {
        assert_eq!(refused(expression).to_string(), error, "{expression}");
    }
}

#[test]
fn comments_and_what_follows_the_end_are_passed_over() {
    assert!(matches("a /* = 2 */ = -- x\n 1 so on @", "a=1"));
}

#[test]
fn depth_is_bounded_and_length_is_not() {
    for unit in ["(", "NOT ", "- ", "+ "] {
        assert!(matches!(refused(&unit.repeat(1 << 20)), SqlError::Depth { .. }), "{unit}");
    }
    assert!(matches!(refused(&format!("a{}", " = 1".repeat(1 << 16))), SqlError::Depth { .. }));
    let half = DEPTH_MAX as usize - 2;
    let deep = format!("{}a = 1{}", "(".repeat(half), ")".repeat(half));
    assert!(matches(&deep, "a=1"));
    let long = format!("a = 0{}", " OR a = 1".repeat(1 << 16));
    assert!(matches(&long, "a=1"));
}
