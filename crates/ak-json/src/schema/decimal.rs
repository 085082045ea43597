//! `multipleOf` in decimal arithmetic, on numbers as they are written.

use crate::value::number::Number;

/// The magnitude of a number as `digits × 10^exponent`.
struct Decimal {
    digits: u64,
    exponent: i32,
}

impl Decimal {
    fn of(number: &Number) -> Option<Self> {
        number.with_text(|text| {
            let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            let mut digits = 0u64;
            for digit in whole.bytes().chain(fraction.bytes()).filter(u8::is_ascii_digit) {
                digits = digits.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            }
            let exponent = exponent.parse::<i32>().ok()?.checked_sub(fraction.len() as i32)?;
            Some(Self { digits, exponent })
        })
    }
}

/// `10^exponent` modulo a number below 2⁶⁴.
fn power_of_ten(exponent: i32, modulus: u128) -> u128 {
    let (mut power, mut square, mut exponent) = (1 % modulus, 10 % modulus, exponent);
    while exponent > 0 {
        if exponent % 2 == 1 {
            power = power * square % modulus;
        }
        square = square * square % modulus;
        exponent /= 2;
    }
    power
}

/// Units of work for [`is_multiple`].
pub(super) fn multiple_work(number: &Number, divisor: &Number) -> u64 {
    if number.is_float() || divisor.is_float() { 80 } else { 12 }
}

/// Whether the number is an integer times the divisor, exactly as both are written: 0.0075 is a multiple of 0.0001,
/// although the nearest floats are not.
pub(super) fn is_multiple(number: &Number, divisor: &Number) -> bool {
    let (Some(number), Some(divisor)) = (Decimal::of(number), Decimal::of(divisor)) else { return false };
    let shift = number.exponent.saturating_sub(divisor.exponent);
    let modulus = u128::from(divisor.digits);
    if modulus == 0 {
        return false;
    }
    if shift >= 0 {
        // The number is digits × 10^shift units of the divisor's last decimal place.
        let product = u128::from(number.digits) % modulus * power_of_ten(shift, modulus);
        return product.is_multiple_of(modulus);
    }
    // The divisor's last place is higher: `digits` must be a multiple of modulus × 10^-shift.
    let step = (shift..0).try_fold(modulus, |step, _| step.checked_mul(10));
    match step {
        Some(step) => u128::from(number.digits) % step == 0,
        None => number.digits == 0,
    }
}
