//! One column of a row group as Parquet bytes.
//!
//! Our columns already hold what Parquet's plain pages hold, and its definition levels of an optional column are the
//! very bits that say which rows have a value. So a column is encoded by packing those bits, the dictionary's indices
//! if it has one, and one compression per page. Headers, chunks and footers are the `parquet` crate's.

use std::sync::Arc;

use arrow_schema::{DataType, Field};
use bytes::Bytes;
use inlet_events::{Bits, Column, Texts, Values};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

/// Higher levels cost a third more time for 2 % less.
const ZSTD_LEVEL: i32 = 1;

/// The least and the greatest value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bounds {
    /// BIGINT, and microseconds of TIMESTAMP.
    Int(i64, i64),
    Double(f64, f64),
    /// Compared as bytes, which for UTF-8 is the order of its characters.
    Text(Vec<u8>, Vec<u8>),
}

impl Bounds {
    /// Of a column's values, if there are any; flags have none worth keeping.
    pub(super) fn of(column: &Column) -> Option<Self> {
        match column.values() {
            Values::Boolean(_) => None,
            Values::BigInt(values) | Values::Timestamp(values) => {
                Some(Self::Int(*values.iter().min()?, *values.iter().max()?))
            }
            Values::Double(values) => {
                let least = values.iter().copied().reduce(f64::min)?;
                let greatest = values.iter().copied().reduce(f64::max)?;
                // Readers may take one zero for less than the other: the bounds are outside of both.
                Some(Self::Double(
                    if least == 0.0 { -0.0 } else { least },
                    if greatest == 0.0 { 0.0 } else { greatest },
                ))
            }
            Values::String(texts) => {
                let (least, greatest) = texts.distinct().fold(None, |bounds: Option<(&[u8], &[u8])>, text| {
                    Some(bounds.map_or((text, text), |(least, greatest)| (least.min(text), greatest.max(text))))
                })?;
                Some(Self::Text(least.to_vec(), greatest.to_vec()))
            }
        }
    }

    /// Whether an integer may be among them that no double holds exactly.
    pub(super) fn is_wide(&self) -> bool {
        const EXACT: u64 = 1 << 53;
        matches!(self, Self::Int(least, greatest) if least.unsigned_abs().max(greatest.unsigned_abs()) > EXACT)
    }

    /// Of both together.
    pub(super) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int(a, b), Self::Int(c, d)) => Self::Int(a.min(c), b.max(d)),
            (Self::Double(a, b), Self::Double(c, d)) => Self::Double(a.min(c), b.max(d)),
            (Self::Text(a, b), Self::Text(c, d)) => Self::Text(a.min(c), b.max(d)),
            // One column has one type.
            (known, _) => known,
        }
    }
}

/// Encodes columns one after another; its buffers and its compressor are used again.
pub struct Encoder {
    compressor: Compressor<'static>,
    /// A page before and after its compression.
    page: Vec<u8>,
    packed: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// A chunk on its way: its bytes, and what its footer says of them.
struct Chunk {
    bytes: TrackedWrite<Vec<u8>>,
    uncompressed: usize,
    encodings: Vec<Encoding>,
    dictionary_offset: Option<i64>,
    data_offset: Option<i64>,
}

impl Encoder {
    /// A new one; keep it, since its compressor is some hundred kilobytes of memory.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> Result<Self> {
        Ok(Self { compressor: Compressor::new(ZSTD_LEVEL)?, page: Vec::new(), packed: Vec::new() })
    }

    /// The codec that chunks are written with.
    fn compression() -> Result<Compression> {
        Ok(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
    }

    /// Encodes `rows` rows of a column, or of none: all NULL. The answer's offsets are from the first byte.
    pub(super) fn encode(
        &mut self,
        column: Option<&Column>,
        rows: usize,
        description: &ColumnDescPtr,
        bounds: Option<&Bounds>,
        field: &Field,
    ) -> Result<(Bytes, ColumnCloseResult)> {
        let mut chunk = Chunk {
            bytes: TrackedWrite::new(Vec::new()),
            uncompressed: 0,
            encodings: vec![Encoding::PLAIN, Encoding::RLE],
            dictionary_offset: None,
            data_offset: None,
        };
        let is_optional = description.max_def_level() > 0;
        let none = Bits::default();
        let valid = column.map_or(&none, Column::valid);
        let count = column.map_or(0, Column::count);
        match column.map(Column::values) {
            Some(Values::String(texts)) => self.texts(&mut chunk, texts, valid, rows, is_optional)?,
            values => {
                self.begin_page(valid, 0..rows, count, is_optional);
                match values {
                    Some(Values::Boolean(bits)) => push_bits(bits, 0, bits.len(), &mut self.page),
                    Some(Values::BigInt(values) | Values::Timestamp(values)) => {
                        push_words(values, i64::to_le_bytes, &mut self.page);
                    }
                    Some(Values::Double(values)) => push_words(values, f64::to_le_bytes, &mut self.page),
                    Some(Values::String(_)) | None => {}
                }
                self.end_page(&mut chunk, rows, Encoding::PLAIN)?;
            }
        }
        let bytes = chunk.bytes.bytes_written();
        let mut metadata = ColumnChunkMetaData::builder(Arc::clone(description))
            .set_compression(Self::compression()?)
            .set_encodings(chunk.encodings)
            .set_num_values(signed(rows)?)
            .set_total_compressed_size(signed(bytes)?)
            .set_total_uncompressed_size(signed(chunk.uncompressed)?)
            .set_data_page_offset(chunk.data_offset.unwrap_or_default())
            .set_dictionary_page_offset(chunk.dictionary_offset);
        if let Some(statistics) = statistics(field, (rows - count) as u64, bounds) {
            metadata = metadata.set_statistics(statistics);
        }
        let close = ColumnCloseResult {
            bytes_written: bytes as u64,
            rows_written: rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok((chunk.bytes.into_inner()?.into(), close))
    }

    /// A dictionary and the rows that refer to it, then the rows whose texts stand for themselves.
    fn texts(&mut self, chunk: &mut Chunk, texts: &Texts, valid: &Bits, rows: usize, is_optional: bool) -> Result<()> {
        let indices = texts.indices();
        // The first row behind those that refer to the dictionary.
        let split = if texts.plain().is_empty() { rows } else { place_of(valid, indices.len()) };
        if !indices.is_empty() {
            chunk.encodings.push(Encoding::RLE_DICTIONARY);
            self.page.clear();
            self.page.extend_from_slice(texts.dictionary());
            self.dictionary_page(chunk, texts.dictionary_len())?;
            self.begin_page(valid, 0..split, indices.len(), is_optional);
            push_indices(indices, texts.dictionary_len(), &mut self.page);
            self.end_page(chunk, split, Encoding::RLE_DICTIONARY)?;
        }
        let start = if indices.is_empty() { 0 } else { split };
        if start < rows {
            let count = (start..rows).filter(|&row| valid.get(row)).count();
            self.begin_page(valid, start..rows, count, is_optional);
            self.page.extend_from_slice(texts.plain());
            self.end_page(chunk, rows - start, Encoding::PLAIN)?;
        }
        Ok(())
    }

    /// Begins a page with the definition levels of its rows.
    fn begin_page(&mut self, valid: &Bits, rows: std::ops::Range<usize>, count: usize, is_optional: bool) {
        self.page.clear();
        if !is_optional {
            return;
        }
        // Their length comes first.
        self.page.extend_from_slice(&[0; 4]);
        let all = rows.len();
        if count == 0 || count == all {
            push_varint(all << 1, &mut self.page);
            self.page.push(u8::from(count > 0));
        } else {
            push_varint(all.div_ceil(8) << 1 | 1, &mut self.page);
            push_bits(valid, rows.start, all, &mut self.page);
        }
        let length = (self.page.len() - 4) as u32;
        self.page[..4].copy_from_slice(&length.to_le_bytes());
    }

    fn end_page(&mut self, chunk: &mut Chunk, rows: usize, encoding: Encoding) -> Result<()> {
        let page = Page::DataPage {
            buf: self.pack()?,
            num_values: count_of(rows)?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let offset = chunk.write(page, self.page.len())?;
        chunk.data_offset.get_or_insert(offset);
        Ok(())
    }

    fn dictionary_page(&mut self, chunk: &mut Chunk, texts: usize) -> Result<()> {
        let page = Page::DictionaryPage {
            buf: self.pack()?,
            num_values: count_of(texts)?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        chunk.dictionary_offset = Some(chunk.write(page, self.page.len())?);
        Ok(())
    }

    fn pack(&mut self) -> Result<Bytes> {
        self.packed.clear();
        self.packed.reserve(compress_bound(self.page.len()));
        self.compressor.compress_to_buffer(&self.page, &mut self.packed)?;
        Ok(Bytes::copy_from_slice(&self.packed))
    }
}

impl Chunk {
    /// Writes a page with its header; answers where it begins.
    fn write(&mut self, page: Page, uncompressed: usize) -> Result<i64> {
        // A page's size is 32 bits in its header; our row groups are far smaller.
        count_of(uncompressed)?;
        let written = SerializedPageWriter::new(&mut self.bytes).write_page(CompressedPage::new(page, uncompressed))?;
        self.uncompressed += written.uncompressed_size;
        signed(written.offset as usize)
    }
}

/// What the chunk's footer says about its values; only for columns of ours, whose physical type is known.
fn statistics(field: &Field, nulls: u64, bounds: Option<&Bounds>) -> Option<Statistics> {
    let nulls = Some(nulls);
    Some(match (field.data_type(), bounds) {
        (DataType::Boolean, _) => Statistics::boolean(None, None, None, nulls, false),
        (DataType::Int64 | DataType::Timestamp(..), Some(&Bounds::Int(least, greatest))) => {
            Statistics::int64(Some(least), Some(greatest), None, nulls, false)
        }
        (DataType::Int64 | DataType::Timestamp(..), _) => Statistics::int64(None, None, None, nulls, false),
        (DataType::Float64, Some(&Bounds::Double(least, greatest))) => {
            Statistics::double(Some(least), Some(greatest), None, nulls, false)
        }
        (DataType::Float64, _) => Statistics::double(None, None, None, nulls, false),
        (DataType::Utf8, Some(Bounds::Text(least, greatest))) => {
            let text = |bytes: &Vec<u8>| Some(ByteArray::from(bytes.clone()));
            Statistics::byte_array(text(least), text(greatest), None, nulls, false)
        }
        (DataType::Utf8, _) => Statistics::byte_array(None, None, None, nulls, false),
        _ => return None,
    })
}

/// Where the set bit with `count` set bits before it stands.
fn place_of(bits: &Bits, count: usize) -> usize {
    let mut left = count;
    let mut at = 0;
    while at < bits.len() {
        let word = bits.word(at);
        let ones = word.count_ones() as usize;
        if left < ones {
            let inside = (0..64).filter(|place| word >> place & 1 == 1).nth(left);
            return at + inside.unwrap_or_default();
        }
        left -= ones;
        at += 64;
    }
    bits.len()
}

/// Bits in bytes, the first in the lowest place.
fn push_bits(bits: &Bits, from: usize, count: usize, out: &mut Vec<u8>) {
    let end = out.len() + count.div_ceil(8);
    for at in (0..count).step_by(64) {
        let left = count - at;
        let mask = if left < 64 { (1 << left) - 1 } else { u64::MAX };
        out.extend_from_slice(&(bits.word(from + at) & mask).to_le_bytes());
    }
    out.truncate(end);
}

fn push_words<T: Copy>(values: &[T], bytes: impl Fn(T) -> [u8; 8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + values.len() * 8, 0);
    for (place, value) in out[start..].chunks_exact_mut(8).zip(values) {
        place.copy_from_slice(&bytes(*value));
    }
}

/// Indices into a dictionary, each in as many bits as the last one needs; the width comes first.
fn push_indices(indices: &[u8], texts: usize, out: &mut Vec<u8>) {
    let width = usize::BITS - (texts - 1).leading_zeros();
    out.push(width as u8);
    if width == 0 {
        // One text: a run of as many as there are.
        return push_varint(indices.len() << 1, out);
    }
    push_varint(indices.len().div_ceil(8) << 1 | 1, out);
    for eight in indices.chunks(8) {
        let word = eight.iter().rev().fold(0u64, |word, &index| word << width | u64::from(index));
        // A group is always eight indices: as many bytes as an index has bits.
        out.extend_from_slice(&word.to_le_bytes()[..width as usize]);
    }
}

fn push_varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn count_of(count: usize) -> Result<u32> {
    i32::try_from(count).map(|count| count as u32).map_err(|_| too_large())
}

fn signed(count: usize) -> Result<i64> {
    i64::try_from(count).map_err(|_| too_large())
}

fn too_large() -> ParquetError {
    ParquetError::General("a column chunk is too large".into())
}

#[cfg(test)]
mod tests;
