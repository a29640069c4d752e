//! Audio: WAV and MP3, known by their first bytes.
//!
//! Guarantees: what passes is what Ollama itself takes for audio. It takes everything else for a picture and decodes it
//! as one, so other formats (FLAC, Ogg, WebM, M4A) would go round the bounds of images. A WAV's sampling rate and channels
//! are within bounds, since a file of few samples a second grows a thousandfold when it is resampled.
//! Does not: decode anything, so a broken file passes; know how long an MP3 plays, which its bytes bound.

use crate::ollama::fault::BodyFault;

/// Channels and samples a second that recordings have.
const CHANNELS: std::ops::RangeInclusive<u16> = 1..=8;
const RATE: std::ops::RangeInclusive<u32> = 8_000..=192_000;
/// Chunks that may stand before the format.
const CHUNKS_BEFORE: usize = 16;

/// What Ollama takes for audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audio {
    Wav,
    Mp3,
}

impl Audio {
    /// Looks at the beginning of a file.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, BodyFault> {
        if let Some(chunks) = bytes.strip_prefix(b"RIFF").and_then(|rest| rest.get(4..)?.strip_prefix(b"WAVE")) {
            let (channels, rate) = format(chunks).ok_or(BodyFault::AudioFormat)?;
            let within = CHANNELS.contains(&channels) && RATE.contains(&rate);
            return if within { Ok(Self::Wav) } else { Err(BodyFault::AudioRate) };
        }
        if bytes.starts_with(b"ID3") || is_frame(bytes) { Ok(Self::Mp3) } else { Err(BodyFault::AudioFormat) }
    }

    /// The name that the file has from here on.
    pub(super) const fn file_name(self) -> &'static str {
        match self {
            Self::Wav => "audio.wav",
            Self::Mp3 => "audio.mp3",
        }
    }

    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Mp3 => "audio/mpeg",
        }
    }
}

/// Channels and samples a second, from the first `fmt ` chunk of a WAV.
fn format(mut chunks: &[u8]) -> Option<(u16, u32)> {
    for _ in 0..=CHUNKS_BEFORE {
        let (id, rest) = chunks.split_first_chunk::<4>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        if id == b"fmt " {
            let channels = u16::from_le_bytes(*rest.get(2..)?.first_chunk()?);
            return Some((channels, u32::from_le_bytes(*rest.get(4..)?.first_chunk()?)));
        }
        // Chunks are padded to even sizes.
        let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
        chunks = rest.get(size.checked_next_multiple_of(2)?..)?;
    }
    None
}

/// An MPEG audio frame of layer I, II or III with a bit rate and a sampling rate that exist.
fn is_frame(bytes: &[u8]) -> bool {
    let [0xff, second, third, ..] = bytes else { return false };
    let (sync, version, layer) = (second & 0xe0 == 0xe0, second >> 3 & 3, second >> 1 & 3);
    sync && version != 1 && layer != 0 && third >> 4 != 0xf && third >> 2 & 3 != 3
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A WAV of one sample.
    pub(in crate::ollama::call) fn wav(channels: u16, rate: u32) -> Vec<u8> {
        let format = [&1_u16.to_le_bytes()[..], &channels.to_le_bytes(), &rate.to_le_bytes(), &[0; 8]].concat();
        [&b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0"[..], &format, b"data\x02\0\0\0\0\0"].concat()
    }

    #[test]
    fn only_what_ollama_takes_for_audio() {
        let jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF";
        for (bytes, expected) in [
            (&wav(1, 16_000)[..], Ok(Audio::Wav)),
            (b"ID3\x04\0\0", Ok(Audio::Mp3)),
            (b"\xff\xfb\x90\x64", Ok(Audio::Mp3)),
            (b"\xff\xf1\x50\x80", Err(BodyFault::AudioFormat)),
            (b"\xff\xfe<\0?\0", Err(BodyFault::AudioFormat)),
            (jpeg, Err(BodyFault::AudioFormat)),
            (b"fLaC\0\0\0\x22", Err(BodyFault::AudioFormat)),
            (b"OggS\0\x02", Err(BodyFault::AudioFormat)),
            (b"\x1a\x45\xdf\xa3", Err(BodyFault::AudioFormat)),
            (b"\0\0\0\x20ftypM4A ", Err(BodyFault::AudioFormat)),
            (b"RIFF\0\0\0\0WEBPVP8L", Err(BodyFault::AudioFormat)),
            (b"RIFFxxxxWAVE", Err(BodyFault::AudioFormat)),
            (b"", Err(BodyFault::AudioFormat)),
            (&wav(1, 1), Err(BodyFault::AudioRate)),
            (&wav(1, 1_000_000), Err(BodyFault::AudioRate)),
            (&wav(0, 16_000), Err(BodyFault::AudioRate)),
            (&wav(9, 16_000), Err(BodyFault::AudioRate)),
        ] {
            assert_eq!(Audio::of(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn the_format_may_follow_other_chunks() {
        let plain = wav(2, 48_000);
        let (head, rest) = plain.split_at(12);
        let junk = |times: usize| [head, &b"JUNK\x03\0\0\0abc\0".repeat(times), rest].concat();
        assert_eq!(Audio::of(&junk(3)), Ok(Audio::Wav));
        assert_eq!(Audio::of(&junk(CHUNKS_BEFORE + 1)), Err(BodyFault::AudioFormat));
        let endless = [head, b"JUNK\xff\xff\xff\xff"].concat();
        assert_eq!(Audio::of(&endless), Err(BodyFault::AudioFormat));
    }
}
