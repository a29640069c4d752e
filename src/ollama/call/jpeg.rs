//! The size of a JPEG, from its frame header.
//!
//! Guarantees: reads markers only, in one pass, each step forward. Does not: decode anything.

const START: &[u8] = b"\xFF\xD8";

/// Whether it may be one.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(START)
}

/// Width and height from the first start-of-frame segment.
pub(super) fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.strip_prefix(START)?;
    loop {
        rest = rest.strip_prefix(b"\xFF")?;
        while let Some(after) = rest.strip_prefix(b"\xFF") {
            rest = after; // fill bytes
        }
        let (&marker, after) = rest.split_first()?;
        let length = usize::from(u16::from_be_bytes(*after.first_chunk()?));
        let segment = after.get(2..length)?;
        match marker {
            // C4, C8 and CC are tables, not frames.
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return frame(segment),
            // Image data, its end, or a restart before any frame: no frame will come.
            0x01 | 0xD0..=0xDA => return None,
            _ => rest = after.get(length..)?,
        }
    }
}

/// Precision, height, width.
fn frame(segment: &[u8]) -> Option<(u32, u32)> {
    let height = u16::from_be_bytes(*segment.get(1..)?.first_chunk()?);
    let width = u16::from_be_bytes(*segment.get(3..)?.first_chunk()?);
    Some((u32::from(width), u32::from(height)))
}

#[cfg(test)]
mod tests {
    use super::dimensions;

    #[test]
    fn finds_the_frame_behind_other_segments() {
        let jpeg = b"\xFF\xD8\xFF\xE0\0\x04ab\xFF\xFF\xC4\0\x02\xFF\xC2\0\x0B\x08\x01\0\x02\0\x01\x01\x11\0";
        assert_eq!(dimensions(jpeg), Some((512, 256)));
    }

    #[test]
    fn what_is_no_jpeg_has_no_size() {
        for bytes in
            [&b""[..], b"\xFF\xD8", b"\xFF\xD8\xFF\xD9\0\x02", b"\xFF\xD8\xFF\xE0\0\x01", b"\xFF\xD8\xFF\xC0\0\x03\x08"]
        {
            assert_eq!(dimensions(bytes), None);
        }
    }
}
