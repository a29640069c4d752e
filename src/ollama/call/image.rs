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
use crate::ollama::strict_json::{Text, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

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
    /// Room for decoding that is used again.
    room: Vec<u8>,
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
    let mut room = std::mem::take(&mut draft.images.room);
    room.clear();
    let canonical = decode(encoded, &mut room)?;
    check(draft, &room)?;
    draft.images.encoded += encoded.len();
    draft.turn.carries = Carries::More;
    match canonical {
        Spelling::Canonical => draft.out.text(text),
        Spelling::Other => draft.out.string(&format!("{prefix}{}", STANDARD.encode(&room))),
    }
    draft.images.room = room;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Canonical,
    Other,
}

/// Go skips line ends within base64; nothing else is lenient.
fn decode(encoded: &str, room: &mut Vec<u8>) -> Result<Spelling, BodyFault> {
    if STANDARD.decode_vec(encoded, room).is_ok() {
        return Ok(Spelling::Canonical);
    }
    room.clear();
    let joined: String = encoded.chars().filter(|c| *c != '\n' && *c != '\r').collect();
    LENIENT.decode_vec(joined, room).map_err(|_| BodyFault::ImageEncoding)?;
    Ok(Spelling::Other)
}

fn check(draft: &mut Draft<'_>, bytes: &[u8]) -> Done {
    let validation = draft.rules.validation;
    draft.images.count += 1;
    if draft.images.count > validation.max_images {
        return Err(BodyFault::TooManyImages { limit: validation.max_images });
    }
    draft.images.decoded += bytes.len();
    let (limit, length) = (validation.max_images_bytes, draft.images.decoded);
    if length > limit {
        return Err(BodyFault::ImagesTooLarge { limit, length });
    }
    let (width, height) = png(bytes).or_else(|| jpeg::dimensions(bytes)).ok_or(BodyFault::ImageFormat)?;
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

    #[test]
    fn png_header() {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x02\0\0\0\x01\0".to_vec();
        assert_eq!(png(&bytes), Some((512, 256)));
        bytes.pop();
        assert_eq!(png(&bytes), None);
        assert_eq!(png(b"GIF89a"), None);
    }

    #[test]
    fn base64_as_go_reads_it() {
        let read = |text: &str| {
            let mut room = Vec::new();
            decode(text, &mut room).map(|spelling| (spelling, room))
        };
        assert_eq!(read("QUI="), Ok((Spelling::Canonical, b"AB".to_vec())));
        assert_eq!(read("QU\r\nI="), Ok((Spelling::Other, b"AB".to_vec())));
        assert_eq!(read("QUJ="), Ok((Spelling::Other, b"AB".to_vec())));
        for bad in ["QUI", "QU I=", "QU-_", "QUI=QUI=", "http://x/a.png"] {
            assert_eq!(read(bad), Err(BodyFault::ImageEncoding), "{bad}");
        }
    }
}
