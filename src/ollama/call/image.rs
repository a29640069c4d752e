//! Images: PNG and JPEG, known by their first bytes, with the size that their header tells.
//!
//! Guarantees: what passes is canonical base64 of an image whose sides and pixels are within bounds, and all images
//! together are within theirs; nothing is fetched, and no decoder but a header reader runs here.
//! Does not: decode pixels, so a broken image passes. Answers `threats.md` §0.12 and §5 row 8.

use super::draft::Draft;
use super::jpeg;
use super::message::Carries;
use super::table::{Field, Members};
use crate::ollama::fault::BodyFault;
use crate::ollama::strict_json::{Text, Value, are_letters};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use std::ops::Range;

type Done = Result<(), BodyFault>;

/// As lenient as Go's: the last character may hold bits that are not used.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The images of one request.
#[derive(Debug, Default)]
pub(super) struct Images {
    count: usize,
    decoded: usize,
    encoded: usize,
}

impl Images {
    /// How many there are.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Bytes that the images took in the body.
    pub(super) const fn encoded_bytes(&self) -> usize {
        self.encoded
    }
}

/// `images`: a list of base64 strings.
pub(super) fn images(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(value) = members.get(field.name) else { return Ok(()) };
    let items = value.as_array().ok_or(BodyFault::FieldType { field: field.name })?;
    if items.is_empty() {
        return Ok(());
    }
    draft.out.key(field.name);
    draft.out.open_array();
    for item in items {
        let text = item.as_text().ok_or(BodyFault::FieldType { field: field.name })?;
        base64_image(draft, text, "")?;
    }
    draft.out.close_array();
    Ok(())
}

/// `data:image/png;base64,…`, and nothing that would have to be fetched.
pub(super) fn data_uri(draft: &mut Draft<'_>, field: &'static str, value: &Value<'_>) -> Done {
    const PREFIXES: [&str; 3] = ["data:image/png;base64,", "data:image/jpeg;base64,", "data:image/jpg;base64,"];
    let text = value.as_text().ok_or(BodyFault::FieldType { field })?;
    let prefix = PREFIXES.into_iter().find(|prefix| text.as_str().starts_with(prefix));
    let Some(prefix) = prefix else {
        let data = text.as_str().starts_with("data:");
        return Err(if data { BodyFault::ImageFormat } else { BodyFault::ImageUrl });
    };
    base64_image(draft, text, prefix)
}

/// One image, written as it came where it is canonical, else encoded anew.
pub(super) fn base64_image(draft: &mut Draft<'_>, text: &Text<'_>, prefix: &str) -> Done {
    let encoded = text.as_str().strip_prefix(prefix).unwrap_or_default();
    let other = if is_canonical(encoded, letters(text, prefix)) { None } else { Some(respelled(encoded)?) };
    let canonical = other.as_deref().unwrap_or(encoded);
    check(draft, canonical)?;
    draft.images.encoded += encoded.len();
    draft.turn.carries = Carries::More;
    match &other {
        None => draft.out.text(text),
        Some(other) => draft.out.string(&format!("{prefix}{other}")),
    }
    Ok(())
}

/// Where letters of base64 were seen, counted from behind the prefix.
fn letters(text: &Text<'_>, prefix: &str) -> Range<usize> {
    let Range { start, end } = text.letters();
    start.saturating_sub(prefix.len())..end.saturating_sub(prefix.len())
}

/// Whether it is base64 as an encoder writes it, of which a part is known to be letters. Nothing is decoded but its end,
/// where the fill is.
fn is_canonical(encoded: &str, known: Range<usize>) -> bool {
    let bytes = encoded.as_bytes();
    let Some((most, last)) = bytes.split_last_chunk::<4>() else { return bytes.is_empty() };
    let before = most.get(..known.start).unwrap_or(most);
    let behind = most.get(known.end..).unwrap_or_default();
    most.len() % 4 == 0 && are_letters(before) && are_letters(behind) && STANDARD.decode(last).is_ok()
}

/// Go skips line ends within base64; nothing else is lenient.
fn respelled(encoded: &str) -> Result<String, BodyFault> {
    let joined: String = encoded.chars().filter(|c| *c != '\n' && *c != '\r').collect();
    LENIENT.decode(joined).map(|bytes| STANDARD.encode(bytes)).map_err(|_| BodyFault::ImageEncoding)
}

/// Characters that are decoded to find the size: what a PNG needs, what most JPEGs need, all.
const LOOKS: [usize; 3] = [4 * 1024, 128 * 1024, usize::MAX];

/// Width and height, of canonical base64.
fn dimensions(encoded: &str) -> Option<(u32, u32)> {
    for characters in LOOKS {
        let looked_at = encoded.get(..characters.min(encoded.len()))?;
        let bytes = STANDARD.decode(looked_at).ok()?;
        let found = png(&bytes).or_else(|| jpeg::dimensions(&bytes));
        if found.is_some() || looked_at.len() == encoded.len() || !jpeg::begins(&bytes) {
            return found;
        }
    }
    None
}

/// Bytes that canonical base64 stands for.
fn decoded_len(encoded: &str) -> usize {
    let fill = encoded.bytes().rev().take_while(|byte| *byte == b'=').count();
    (encoded.len() / 4 * 3).saturating_sub(fill)
}

fn check(draft: &mut Draft<'_>, encoded: &str) -> Done {
    let validation = draft.rules.validation;
    draft.images.count += 1;
    if draft.images.count > validation.max_images {
        return Err(BodyFault::TooManyImages { limit: validation.max_images });
    }
    draft.images.decoded += decoded_len(encoded);
    let (limit, length) = (validation.max_images_bytes, draft.images.decoded);
    if length > limit {
        return Err(BodyFault::ImagesTooLarge { limit, length });
    }
    let (width, height) = dimensions(encoded).ok_or(BodyFault::ImageFormat)?;
    let (side, pixels) = (validation.max_image_side, validation.max_image_pixels);
    let within = width.max(height) <= side && u64::from(width) * u64::from(height) <= pixels;
    if within && width.min(height) > 0 { Ok(()) } else { Err(BodyFault::ImageDimensions { side, pixels }) }
}

/// Width and height from IHDR, which must be the first chunk.
fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR")?;
    let width = u32::from_be_bytes(*header.first_chunk()?);
    let height = u32::from_be_bytes(*header.get(4..)?.first_chunk()?);
    Some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ollama::strict_json::parse;

    #[test]
    fn png_header() {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x02\0\0\0\x01\0".to_vec();
        assert_eq!(png(&bytes), Some((512, 256)));
        bytes.pop();
        assert_eq!(png(&bytes), None);
        assert_eq!(png(b"GIF89a"), None);
    }

    /// Whether it is canonical, what it stands for and its length.
    fn read(text: &str) -> Result<(bool, Vec<u8>), BodyFault> {
        let canonical = is_canonical(text, 0..0);
        let spelling = if canonical { text.to_owned() } else { respelled(text)? };
        let bytes = STANDARD.decode(&spelling).unwrap();
        assert_eq!(decoded_len(&spelling), bytes.len());
        Ok((canonical, bytes))
    }

    #[test]
    fn base64_as_go_reads_it() {
        assert_eq!(read(""), Ok((true, vec![])));
        assert_eq!(read("QUI="), Ok((true, b"AB".to_vec())));
        assert_eq!(read("QUI+/z09"), Ok((true, b"AB>\xff==".to_vec())));
        assert_eq!(read("QU\r\nI="), Ok((false, b"AB".to_vec())));
        assert_eq!(read("QUJ="), Ok((false, b"AB".to_vec())));
        for bad in ["QUI", "QU I=", "QU-_", "QUI=QUI=", "QU==QUJD", "=", "====", "http://x/a.png"] {
            assert_eq!(read(bad), Err(BodyFault::ImageEncoding), "{bad}");
        }
    }

    #[test]
    fn a_byte_that_is_no_base64_is_found_wherever_it_is() {
        let good = STANDARD.encode([0xA7; 150]);
        assert!(is_canonical(&good, 0..0));
        for at in 0..good.len() {
            for byte in (0x20..128_u8).filter(|byte| !b"\"\\".contains(byte)) {
                let mut bytes = good.clone().into_bytes();
                bytes[at] = byte;
                let encoded = String::from_utf8(bytes).unwrap();
                let good = STANDARD.decode(&encoded).is_ok();
                assert_eq!(is_canonical(&encoded, 0..0), good, "{byte} at {at}");
                for prefix in ["", "data:image/png;base64,"] {
                    let body = format!("\"{prefix}{encoded}\"");
                    let tree = parse(body.as_bytes(), 1).unwrap();
                    let known = letters(tree.as_text().unwrap(), prefix);
                    assert_eq!(is_canonical(&encoded, known), good, "{byte} at {at} behind {prefix:?}");
                }
            }
        }
    }

    #[test]
    fn the_size_of_a_jpeg_is_found_however_much_stands_before_it() {
        for before in [1, 6_000, 40_000, 200_000] {
            let mut jpeg = b"\xFF\xD8".to_vec();
            let segments =
                |length: usize| [b"\xFF\xE1\xFF\xFF".as_slice(), &vec![0; 65_533]].concat().repeat(length / 65_533);
            jpeg.extend(segments(before));
            let rest = u16::try_from(before % 65_533).unwrap() + 2;
            jpeg.extend([&[0xFF, 0xE1], rest.to_be_bytes().as_slice(), &vec![0; before % 65_533]].concat());
            jpeg.extend(b"\xFF\xC0\0\x0B\x08\x01\0\x02\0\x01\x01\x11\0");
            assert_eq!(dimensions(&STANDARD.encode(&jpeg)), Some((512, 256)), "{before}");
            jpeg.truncate(jpeg.len() - 8);
            assert_eq!(dimensions(&STANDARD.encode(&jpeg)), None, "{before}");
        }
    }
}
