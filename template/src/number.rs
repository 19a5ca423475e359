//! Owns arithmetic as Python has it: a truth is a number, a division rounds down, and a remainder has the sign of what
//! divides. Whole numbers have 128 bits here, and what needs more is refused. Knows no text and no list.

use std::cmp::Ordering;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::value::{Kind, List, Space};

/// Two numbers as one kind of number.
pub(super) enum Numbers {
    /// Whole numbers and truths.
    Whole(i128, i128),
    /// One of them is a float.
    Real(f64, f64),
}

/// An error of the template itself.
pub(super) fn invalid(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// Both as numbers of one kind.
pub(super) fn numbers(left: &Value, right: &Value) -> Option<Numbers> {
    if let (Some(left), Some(right)) = (whole_of(left), whole_of(right)) {
        return Some(Numbers::Whole(left, right));
    }
    Some(Numbers::Real(real_of(left)?, real_of(right)?))
}

/// How one number stands beside another, nothing inside where one is `nan`. A whole number is not rounded to a float.
pub(super) fn beside(left: &Value, right: &Value) -> Option<Option<Ordering>> {
    let with_real = |whole: i128, real: f64| {
        if real.is_nan() || real.abs() >= i128::MAX as f64 {
            return 0.0_f64.partial_cmp(&real);
        }
        Some(whole.cmp(&(real.trunc() as i128)).then(0.0_f64.partial_cmp(&real.fract())?))
    };
    match (whole_of(left), whole_of(right)) {
        (Some(left), Some(right)) => Some(Some(left.cmp(&right))),
        (Some(left), None) => Some(with_real(left, real_of(right)?)),
        (None, Some(right)) => Some(with_real(right, real_of(left)?).map(Ordering::reverse)),
        (None, None) => Some(real_of(left)?.partial_cmp(&real_of(right)?)),
    }
}

/// A whole number or a truth as a whole number.
pub(super) fn whole_of(value: &Value) -> Option<i128> {
    let whole = value.is_integer() || value.kind() == ValueKind::Bool;
    if whole { i128::try_from(value.clone()).ok() } else { None }
}

/// A number or a truth as a float.
pub(super) fn real_of(value: &Value) -> Option<f64> {
    match whole_of(value) {
        Some(whole) => Some(whole as f64),
        None if value.is_number() && !value.is_integer() => f64::try_from(value.clone()).ok(),
        None => None,
    }
}

/// A whole number as the engine keeps it.
pub(super) fn whole(value: i128) -> Value {
    i64::try_from(value).map_or_else(|_| Value::from(value), Value::from)
}

/// The name of a value's type in Python.
pub(super) fn kind_of(value: &Value) -> &'static str {
    if let Some(list) = value.downcast_object_ref::<List>() {
        return match list.kind() {
            Kind::List => "list",
            Kind::Tuple | Kind::Group => "tuple",
            Kind::Map => "dict",
            Kind::Range { .. } => "range",
            Kind::Keys => "dict_keys",
            Kind::Values => "dict_values",
            Kind::Items => "dict_items",
            Kind::Once => "generator",
        };
    }
    match value.kind() {
        ValueKind::Undefined => "Undefined",
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        _ if value.downcast_object_ref::<Space>().is_some() => "Namespace",
        _ => "object",
    }
}

/// `left + right` of numbers.
pub(super) fn sum(left: &Value, right: &Value) -> Result<Value, Error> {
    calculate("+", left, right, i128::checked_add, |left, right| Ok(left + right))
}

/// `left - right`.
pub(super) fn subtract(left: &Value, right: &Value) -> Result<Value, Error> {
    calculate("-", left, right, i128::checked_sub, |left, right| Ok(left - right))
}

/// `left * right` of numbers.
pub(super) fn product(left: &Value, right: &Value) -> Result<Value, Error> {
    calculate("*", left, right, i128::checked_mul, |left, right| Ok(left * right))
}

/// `left / right`, which is always a float.
pub(super) fn divide(left: &Value, right: &Value) -> Result<Value, Error> {
    match numbers(left, right) {
        Some(Numbers::Whole(_, 0)) => Err(by_zero()),
        Some(Numbers::Whole(left, right)) => Ok(Value::from(quotient(left, right))),
        Some(Numbers::Real(_, 0.0)) => Err(by_zero()),
        Some(Numbers::Real(left, right)) => Ok(Value::from(left / right)),
        None => Err(impossible("/", left, right)),
    }
}

/// A quotient of whole numbers, rounded once.
fn quotient(left: i128, right: i128) -> f64 {
    let (size, by) = (left.unsigned_abs(), right.unsigned_abs());
    let plain = left as f64 / right as f64;
    // What a float holds exactly is divided exactly enough, and so large a divisor leaves too few digits.
    if size.max(by) < 1 << 53 || by >= 1 << 64 {
        return plain;
    }
    let shift = size.leading_zeros();
    let (found, rest) = ((size << shift) / by, (size << shift) % by);
    let found = (found | u128::from(rest != 0)) as f64 * 2.0_f64.powi(-i32::try_from(shift).unwrap_or(0));
    found.copysign(plain)
}

/// `left // right`.
pub(super) fn floor_divide(left: &Value, right: &Value) -> Result<Value, Error> {
    let down = |left: i128, right: i128| {
        let rest = left.checked_rem(right)?;
        let quotient = left.checked_div(right)?;
        if rest != 0 && (rest < 0) != (right < 0) { quotient.checked_sub(1) } else { Some(quotient) }
    };
    not_zero(left, right)?;
    calculate("//", left, right, down, |left, right| Ok(parts(left, right).0))
}

/// `left % right` of numbers.
pub(super) fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    let rest = |left: i128, right: i128| {
        // The smallest number has no remainder by -1 for the processor.
        let rest = if right == -1 { 0 } else { left.checked_rem(right)? };
        if rest != 0 && (rest < 0) != (right < 0) { rest.checked_add(right) } else { Some(rest) }
    };
    not_zero(left, right)?;
    calculate("%", left, right, rest, |left, right| Ok(parts(left, right).1))
}

/// `left ** right`.
pub(super) fn power(left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(Numbers::Whole(base, exponent)) = numbers(left, right)
        && exponent >= 0
    {
        let whole_power = match (base, u32::try_from(exponent)) {
            (0 | 1, Err(_)) => Some(base),
            (-1, Err(_)) => Some(if exponent % 2 == 0 { 1 } else { -1 }),
            (_, Err(_)) => None,
            (_, Ok(exponent)) => base.checked_pow(exponent),
        };
        return whole_power.map(whole).ok_or_else(|| too_large("**", left, right));
    }
    let (Some(base), Some(exponent)) = (real_of(left), real_of(right)) else {
        return Err(impossible("**", left, right));
    };
    if base == 0.0 && exponent < 0.0 {
        return Err(by_zero());
    }
    let found = base.powf(exponent);
    if found.is_nan() && !base.is_nan() && !exponent.is_nan() {
        return Err(invalid("a negative number to a fractional power is a complex number, which is not here"));
    }
    if found.is_infinite() && base.is_finite() && exponent.is_finite() {
        return Err(invalid("the result of ** is too large for a float"));
    }
    Ok(Value::from(found))
}

/// `-value`.
pub(super) fn negative(value: &Value) -> Result<Value, Error> {
    match (whole_of(value), real_of(value)) {
        (Some(number), _) => number.checked_neg().map(whole).ok_or_else(|| invalid("-x is larger than 128 bits")),
        (None, Some(number)) => Ok(Value::from(-number)),
        (None, None) => Err(invalid(format!("a value of the type {} has no negative", kind_of(value)))),
    }
}

/// What an operator cannot do.
pub(super) fn impossible(op: &str, left: &Value, right: &Value) -> Error {
    invalid(format!("tried to use {op} operator on unsupported types {} and {}", kind_of(left), kind_of(right)))
}

fn calculate(
    op: &str,
    left: &Value,
    right: &Value,
    whole_op: impl Fn(i128, i128) -> Option<i128>,
    real_op: impl Fn(f64, f64) -> Result<f64, Error>,
) -> Result<Value, Error> {
    match numbers(left, right) {
        Some(Numbers::Whole(one, other)) => whole_op(one, other).map(whole).ok_or_else(|| too_large(op, left, right)),
        Some(Numbers::Real(one, other)) => real_op(one, other).map(Value::from),
        None => Err(impossible(op, left, right)),
    }
}

fn too_large(op: &str, left: &Value, right: &Value) -> Error {
    invalid(format!("unable to calculate {left} {op} {right}: whole numbers of more than 128 bits are not here"))
}

fn by_zero() -> Error {
    invalid("a division by zero")
}

fn not_zero(left: &Value, right: &Value) -> Result<(), Error> {
    match numbers(left, right) {
        Some(Numbers::Whole(_, 0) | Numbers::Real(_, 0.0)) => Err(by_zero()),
        _ => Ok(()),
    }
}

/// Quotient and remainder of floats, as Python rounds them.
fn parts(left: f64, right: f64) -> (f64, f64) {
    let mut rest = left % right;
    let mut quotient = (left - rest) / right;
    if rest == 0.0 {
        rest = 0.0_f64.copysign(right);
    } else if (right < 0.0) != (rest < 0.0) {
        rest += right;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0.0_f64.copysign(left / right), rest);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    // What Python 3.11 gives for the same operands.
    #[test]
    fn divisions_round_down_and_remainders_have_the_sign_of_the_divisor() {
        let wholes = [(7, 2, 3, 1), (-7, 2, -4, 1), (7, -2, -4, -1), (-7, -2, 3, -1), (6, -3, -2, 0)];
        for (left, right, quotient, rest) in wholes {
            let (left, right) = (Value::from(left), Value::from(right));
            assert_eq!(floor_divide(&left, &right).unwrap(), Value::from(quotient));
            assert_eq!(remainder(&left, &right).unwrap(), Value::from(rest));
        }
        for (left, right, quotient, rest) in [(7.5, 2.0, 3.0, 1.5), (-7.5, 2.0, -4.0, 0.5), (7.5, -2.0, -4.0, -0.5)] {
            assert_eq!(parts(left, right), (quotient, rest));
        }
    }

    #[test]
    fn a_whole_number_is_compared_with_a_float_as_it_is() {
        let wide = Value::from(9_007_199_254_740_993_i64);
        for (left, right, expected) in [
            (&wide, 9_007_199_254_740_992.0, Some(Ordering::Greater)),
            (&Value::from(-3), -2.5, Some(Ordering::Less)),
            (&Value::from(3), 3.0, Some(Ordering::Equal)),
            (&Value::from(true), f64::INFINITY, Some(Ordering::Less)),
            (&wide, f64::NAN, None),
        ] {
            assert_eq!(beside(left, &Value::from(right)), Some(expected));
            assert_eq!(beside(&Value::from(right), left), Some(expected.map(Ordering::reverse)));
        }
        assert_eq!(beside(&wide, &Value::from("a")), None);
    }

    #[test]
    fn what_has_no_number_is_an_error() {
        let (zero, one, text) = (Value::from(0), Value::from(1), Value::from("a"));
        assert!(divide(&one, &zero).is_err() && floor_divide(&one, &zero).is_err() && remainder(&one, &zero).is_err());
        assert!(subtract(&one, &text).is_err() && negative(&text).is_err() && power(&zero, &Value::from(-1)).is_err());
        assert!(power(&Value::from(2), &Value::from(200)).is_err());
        assert_eq!(power(&Value::from(2), &Value::from(-1)).unwrap(), Value::from(0.5));
        assert_eq!(sum(&Value::from(true), &one).unwrap(), Value::from(2));
    }
}
