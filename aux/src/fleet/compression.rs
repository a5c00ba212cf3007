//! The compression of large records: the list of ten thousand parameters with their descriptions
//! takes 3 MB, and a tenth of that when it is compressed.

use std::{
    borrow::Cow,
    io::{Read, Write},
};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

/// The size in bytes from which a record is compressed. The compression of a smaller one costs more
/// than its transfer.
const SMALLEST: usize = 32 << 10;

/// The upper bound of a record in bytes once it is read. The engine may hold anything.
const LARGEST: u64 = 64 << 20;

/// The first byte of compressed data (RFC 1950, 2.2: deflate with a window of 32 KiB). JSON does not
/// begin with it.
const MARK: u8 = 0x78;

/// Compresses a record if that is worth it.
pub(super) fn pack(json: Vec<u8>) -> Vec<u8> {
    if json.len() < SMALLEST {
        return json;
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&json).and_then(|()| encoder.finish()).unwrap_or(json)
}

/// Returns a record as it was before [`pack`]; `None` for data that is too large or broken.
pub(super) fn unpack(packed: &[u8]) -> Option<Cow<'_, [u8]>> {
    if packed.first() != Some(&MARK) {
        return Some(Cow::Borrowed(packed));
    }
    let mut json = Vec::new();
    ZlibDecoder::new(packed).take(LARGEST + 1).read_to_end(&mut json).ok()?;
    (json.len() as u64 <= LARGEST).then_some(Cow::Owned(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_record_is_compressed_and_a_small_one_is_not() {
        let small = br#"{"p":{"n":"/a"}}"#.to_vec();
        assert_eq!(pack(small.clone()), small);
        assert_eq!(unpack(&small).as_deref(), Some(&small[..]));
        let large = br#"{"Name":"/app/name"},"#.repeat(10_000);
        let packed = pack(large.clone());
        assert!(packed.len() < large.len() / 10, "{}", packed.len());
        assert_eq!(packed[0], MARK);
        assert_eq!(unpack(&packed).as_deref(), Some(&large[..]));
    }

    #[test]
    fn broken_data_is_no_record() {
        let packed = pack(br#"{"Name":"/app/name"},"#.repeat(10_000));
        assert_eq!(unpack(&packed[..packed.len() / 2]), None);
        assert_eq!(unpack(b"x\x01garbage"), None);
    }
}
