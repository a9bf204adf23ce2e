//! Text to numbers, as the standard library of Java reads them.
//!
//! Whole numbers take a sign and the decimal digits of any script of Unicode's first plane. Doubles
//! take blanks around them, `NaN`, `Infinity`, a type letter at the end (`1.5f`) and hexadecimal
//! (`0x1.8p3`), but ASCII digits only.

/// The zeros of the scripts that have digits, up to U+FFFF; each is followed by its 1 to 9.
const ZEROS: [u32; 37] = [
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66,
    0xDE6, 0xE50, 0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90,
    0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];

/// A whole number of 32 bits.
pub(super) fn int(text: &str) -> Option<i32> {
    long(text)?.try_into().ok()
}

/// A whole number of 64 bits.
pub(super) fn long(text: &str) -> Option<i64> {
    let (negative, digits) = sign(text);
    if digits.is_empty() {
        return None;
    }
    // Downwards, where there is room for one more.
    let number = digits
        .chars()
        .try_fold(0_i64, |number, c| number.checked_mul(10)?.checked_sub(i64::from(digit(c)?)))?;
    if negative { Some(number) } else { number.checked_neg() }
}

fn digit(c: char) -> Option<u32> {
    let c = u32::from(c);
    ZEROS.iter().map(|zero| c.wrapping_sub(*zero)).find(|digit| *digit < 10)
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// A double.
pub(super) fn double(text: &str) -> Option<f64> {
    let (negative, text) = sign(text.trim_matches(|c| c <= ' '));
    let number = match text {
        "NaN" => return Some(f64::NAN),
        "Infinity" => f64::INFINITY,
        _ => match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => hexadecimal(without_type(digits))?,
            None => decimal(without_type(text))?,
        },
    };
    Some(if negative { -number } else { number })
}

/// Without the letter that makes it a float or a double; it changes nothing.
fn without_type(text: &str) -> &str {
    text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text)
}

/// Digits, a point and an exponent; what is left out of that are signs, and the words that `parse`
/// knows for infinity.
fn decimal(text: &str) -> Option<f64> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !text.chars().all(is_part) {
        return None;
    }
    text.parse().ok()
}

/// Digits with a possible point, and an exponent of two that may not be left out.
fn hexadecimal(text: &str) -> Option<f64> {
    let (digits, power) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = match digits.split_once('.') {
        Some(("", "")) => return None,
        Some(parts) => parts,
        None if digits.is_empty() => return None,
        None => (digits, ""),
    };
    let power = power_of_two(power)? - 4 * fraction.len() as i64;
    let (mut bits, mut dropped, mut more) = (0_u64, 0_i64, false);
    for c in whole.chars().chain(fraction.chars()) {
        let digit = u64::from(c.to_digit(16)?);
        if bits >> 60 == 0 {
            bits = bits << 4 | digit;
        } else {
            dropped += 4;
            more |= digit != 0;
        }
    }
    Some(rounded(bits, power + dropped, more))
}

/// An exponent; one beyond all doubles is cut short, as it changes nothing any more.
fn power_of_two(text: &str) -> Option<i64> {
    let (negative, digits) = sign(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
    Some(if negative { -size } else { size })
}

/// The double next to `bits * 2^power`, the even one of two that are as near. `more`: the number goes
/// on below the bits.
fn rounded(bits: u64, power: i64, more: bool) -> f64 {
    if bits == 0 {
        return 0.0;
    }
    let zeros = bits.leading_zeros();
    let bits = u128::from(bits << zeros);
    // The number is 1.… * 2^top.
    let top = power + 63 - i64::from(zeros);
    if top > 1023 {
        return f64::INFINITY;
    }
    // Below the normal numbers there is less and less room for bits.
    let precision = 53 - (-1022 - top).max(0);
    if precision < 0 {
        return 0.0;
    }
    let shift = 64 - precision as u32;
    let (kept, rest, half) = (bits >> shift, bits & ((1 << shift) - 1), 1 << (shift - 1));
    let up = rest > half || rest == half && (more || kept & 1 == 1);
    (kept as u64 + u64::from(up)) as f64 * exact_power(top - precision + 1)
}

/// `2^power` for the powers that a double can hold.
fn exact_power(power: i64) -> f64 {
    let power = power.clamp(-1074, 1023);
    f64::from_bits(if power < -1022 { 1 << (power + 1074) } else { ((power + 1023) as u64) << 52 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_take_a_sign_and_any_digits() {
        assert_eq!((long("-12"), long("+12"), long("٣४")), (Some(-12), Some(12), Some(34)));
        for text in ["", "-", "1 ", "1.0", "1L", "0x1", "9223372036854775808"] {
            assert_eq!(long(text), None, "{text:?}");
        }
        assert_eq!(long("-9223372036854775808"), Some(i64::MIN));
        assert_eq!((int("2147483647"), int("2147483648")), (Some(i32::MAX), None));
    }

    #[test]
    fn doubles_are_read_as_java_does() {
        let same = [" 1.5f\t", "1.5", "+.15e1", "0x1.8p0", "0X3P-1d", "15.E-1"];
        assert!(same.iter().all(|text| double(text) == Some(1.5)));
        for text in ["", ".", "e1", "1e", "inf", "nan", "infinity", "0x1", "0x.p1", "1_0", "--1"] {
            assert_eq!(double(text), None, "{text:?}");
        }
        assert!(double("-NaN").is_some_and(|nan| nan.is_nan() && nan.is_sign_positive()));
        assert_eq!(double("-Infinity"), Some(f64::NEG_INFINITY));
    }

    #[test]
    fn hexadecimal_is_rounded_to_the_nearest() {
        let cases = [
            ("0x1p-1074", f64::from_bits(1)),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", f64::from_bits(1)),
            ("0x1.fffffffffffff8p1023", f64::INFINITY),
            ("0x1.fffffffffffff7p1023", f64::MAX),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000001p0", 1.0 + f64::EPSILON),
            ("0x123456789abcdef0123p0", 5_373_003_642_731_685_151_011.0),
            ("0x0.0p99999999999999999999", 0.0),
            ("0x1p-99999999999999999999", 0.0),
        ];
        for (text, number) in cases {
            assert_eq!(double(text), Some(number), "{text}");
        }
    }
}
