//! What an upload is packed in, told by its bytes and never by its name: gzip (members one after another too), zstd
//! (frames likewise), or plain.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

/// A packing that is told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// RFC 1952
    Gzip,
    /// RFC 8878
    Zstd,
    /// None
    Plain,
}

impl Packing {
    /// Tells the packing from an upload's first bytes.
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0x1F, 0x8B, ..] => Self::Gzip,
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// A reader of the decompressed bytes. Errors of the stream itself are [`io::ErrorKind`]s of the decoder; errors of
/// the source pass through.
///
/// # Errors
/// When the first bytes cannot be read.
pub fn unpack<'a, R: BufRead + Send + 'a>(mut packed: R) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match Packing::of(packed.fill_buf()?) {
        Packing::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
        Packing::Plain => Box::new(packed),
    })
}

/// What bytes are that are no lines of JSON, when that can be told; for the hint.
pub fn foreign_format(data: &[u8]) -> Option<&'static str> {
    let signatures: [(&[u8], &str); 6] = [
        (b"PK\x03\x04", "a zip archive"),
        (b"PAR1", "a Parquet file"),
        (b"BZh", "bzip2"),
        (b"\xFD7zXZ\x00", "xz"),
        (b"Obj\x01", "an Avro file"),
        (b"%PDF", "a PDF"),
    ];
    if is_tar(data) {
        return Some("a tar archive");
    }
    signatures.iter().find(|(signature, _)| data.starts_with(signature)).map(|&(_, name)| name)
}

/// Whether the bytes are a tar archive: its lines could pass for events, with the archive's headers between them. A
/// header is padded with NUL bytes, which no JSON holds.
pub fn is_tar(data: &[u8]) -> bool {
    data.get(257..262) == Some(b"ustar") && data[..257].contains(&0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn read(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        unpack(packed)?.read_to_end(&mut data).map(|_| data)
    }

    #[test]
    fn every_packing_and_members_one_after_another() {
        let twice = [gzip(b"one\n"), gzip(b"two\n")].concat();
        assert_eq!(read(&twice).unwrap(), b"one\ntwo\n");
        let frames =
            [zstd::encode_all(&b"one\n"[..], 1).unwrap(), zstd::encode_all(&b"two\n"[..], 1).unwrap()].concat();
        assert_eq!(read(&frames).unwrap(), b"one\ntwo\n");
        assert_eq!(read(b"plain").unwrap(), b"plain");
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn damage_is_an_error() {
        let whole = gzip(&b"some events\n".repeat(100));
        assert!(read(&whole[..whole.len() - 9]).is_err());
        let mut bad_crc = whole.clone();
        let at = bad_crc.len() - 6;
        bad_crc[at] ^= 1;
        assert!(read(&bad_crc).is_err());
        let frame = zstd::encode_all(&b"some events\n".repeat(100)[..], 1).unwrap();
        assert!(read(&frame[..frame.len() - 2]).is_err());
    }
}
