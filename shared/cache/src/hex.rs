//! Hexadecimal digits from a table. `format!` would take longer than a cache lookup.

/// Appends two lower-case digits per byte.
pub fn write(bytes: &[u8], out: &mut Vec<u8>) {
    bytes.iter().for_each(|byte| out.extend_from_slice(&digits(*byte)));
}

/// Returns two lower-case digits per byte.
pub fn encode(bytes: &[u8]) -> String {
    let mut digits = Vec::with_capacity(2 * bytes.len());
    write(bytes, &mut digits);
    String::from_utf8(digits).expect("digits are ASCII")
}

/// Returns two lower-case digits.
pub(crate) fn digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]
}
