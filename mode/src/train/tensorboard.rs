//! TensorBoard's event files: scalars by step.
//!
//! A file is a row of records, each its length (u64), the masked CRC-32C of that, an `Event` message of protocol buffers, and
//! the masked CRC-32C of the message, all little-endian. Of the message (`tensorflow/core/util/event.proto`) only these
//! fields are written: `wall_time` 1 (double), `step` 2 (int64), `file_version` 3 (string), `summary` 5, whose `value`s 1 have
//! `tag` 1 (string) and `simple_value` 2 (float), and `session_log` 7, whose `status` 1 is START at the step that a resumed
//! run begins with: what an earlier file says of later steps is then dropped.

use crate::Error;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes one event file.
pub(crate) struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// A new file in folder `out`, for steps after `after`.
    pub(crate) fn open(out: &Path, after: u64) -> Result<Self, Error> {
        // TensorBoard reads the files of a folder in the order of their names.
        let path = (0..)
            .map(|i| out.join(format!("events.out.tfevents.{:010}.mode.{i}", now() as u64)))
            .find(|path| !path.exists())
            .unwrap_or_else(|| out.join("events.out.tfevents"));
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::file(&path))?;
        let mut writer = Self { path, file };
        writer.event(0, &bytes(3, b"brain.Event:2"))?;
        if after > 0 {
            writer.event(after + 1, &bytes(7, &varint(1, 1)))?;
        }
        Ok(writer)
    }

    /// Writes values of a step, each under its tag.
    pub(crate) fn scalars(&mut self, step: u64, values: &[(&str, f32)]) -> Result<(), Error> {
        let value = |&(tag, value): &(&str, f32)| {
            let message = [bytes(1, tag.as_bytes()), vec![field(2, FIXED32)], value.to_le_bytes().into()].concat();
            bytes(1, &message)
        };
        self.event(step, &bytes(5, &values.iter().flat_map(value).collect::<Vec<u8>>()))
    }

    fn event(&mut self, step: u64, what: &[u8]) -> Result<(), Error> {
        let time = [vec![field(1, FIXED64)], now().to_le_bytes().into()].concat();
        let record = record(&[&time, &varint(2, step), what].concat());
        self.file.write_all(&record).map_err(Error::file(&self.path))
    }
}

/// The event files that runs have left in a folder.
pub(super) fn files(out: &Path) -> Vec<PathBuf> {
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("events.out.tfevents.") && name.contains(".mode.")
    };
    std::fs::read_dir(out).into_iter().flatten().flatten().map(|file| file.path()).filter(ours).collect()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), message, &masked_crc(message)].concat()
}

/// TFRecord's checksum: CRC-32C, rotated and shifted so that a checksum of checksums is no trap.
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Wire types of protocol buffers.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED32: u8 = 5;

/// The byte before a field.
fn field(number: u8, wire: u8) -> u8 {
    number << 3 | wire
}

/// A field of a whole number.
fn varint(number: u8, value: u64) -> Vec<u8> {
    [vec![field(number, VARINT)], base128(value)].concat()
}

/// A field of bytes, text or a message.
fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    [&[field(number, LENGTH)], base128(value.len() as u64).as_slice(), value].concat()
}

fn base128(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = (value & 127) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 128);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_tensorflow_writes_them() {
        // The first record of any event file, but for the time: its length, and that length's checksum.
        let event = [&[field(1, FIXED64)][..], &1.0f64.to_le_bytes(), &bytes(3, b"brain.Event:2")].concat();
        let record = record(&event);
        assert_eq!(&record[..12], [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(record.len(), 8 + 4 + 24 + 4);
    }

    #[test]
    fn numbers_are_base_128() {
        assert_eq!(base128(0), [0]);
        assert_eq!(base128(300), [0xac, 0x02]);
        assert_eq!(varint(2, 1), [0x10, 1]);
    }
}
