//! The official files of NAS-Bench-101 (`nasbench_only108.tfrecord`, `nasbench_full.tfrecord`).
//!
//! A TFRecord file is a row of frames: length (u64), its checksum, payload, its checksum; all little-endian, checksums
//! are CRC-32C, rotated and shifted ("masked"). A payload here is a JSON list: key, epochs, adjacency matrix as text of
//! 0 and 1, operations as text with commas, and base64 of a protobuf `ModelMetrics`. Each (cell, epochs) has three
//! records, one a training. Frames are read in order, in pieces that fit the cache, and parsed by all threads. What was
//! read is kept in a compact file (110 instead of 4,500 bytes a cell), which later runs read instead.
//!
//! The reader trusts nothing: every length is checked before it is used, so a broken file is an error that says where.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rayon::prelude::*;

use super::cell::{Cell, MAX_VERTICES};
use super::nasbench101::nasbench101;
use super::table::Column;
use super::{Benchmark, Metric};
use crate::error::{Error, Result};

/// Trainings of each cell.
const REPEATS: usize = 3;
/// No record of the official files is longer than a few kilobytes.
const LONGEST: u64 = 1 << 20;
/// Bytes read before they are parsed.
const PIECE: usize = 8 << 20;
/// What the paper calls a full training.
const FULL_EPOCHS: u32 = 108;

/// What was measured at one moment of a training: training, validation and test accuracy (0 to 1), seconds so far.
type Moment = [f32; 4];
/// A training half way and at its end.
type Training = [Moment; 2];

/// The contents of a file: cells in the order of their first record.
#[derive(Debug, Default, PartialEq)]
pub struct Records {
    cells: Vec<Cell>,
    params: Vec<u32>,
    /// Lengths of training, ascending.
    budgets: Vec<u32>,
    /// [`REPEATS`] trainings for each cell and budget.
    trainings: Vec<Training>,
}

/// The benchmark of an official file: means of three trainings, or the `repeat`-th one (0 to 2) alone.
///
/// `cache` is the compact file that is read if it was made of this very file, and written otherwise; `None`: no cache.
///
/// # Errors
/// [`Error::Evaluation`] for a file that cannot be read or is not what it should be, naming the byte.
pub fn nasbench101_official(path: &Path, cache: Option<&Path>, repeat: Option<usize>) -> Result<Benchmark> {
    let fail = |e: std::io::Error| Error::Evaluation(format!("'{}' cannot be read: {e}", path.display()));
    let stamp = Stamp::of(path).map_err(fail)?;
    if let Some(records) = cache.and_then(|cache| read_cache(cache, &stamp)) {
        return records.benchmark(repeat);
    }
    let file = File::open(path).map_err(fail)?;
    let records = read(BufReader::with_capacity(1 << 20, file)).map_err(|e| {
        Error::Evaluation(format!("'{}' is not an official NAS-Bench-101 file: {e}", path.display()))
    })?;
    if let Some(cache) = cache {
        write_cache(cache, &stamp, &records).map_err(|e| {
            Error::Evaluation(format!("the compact copy '{}' cannot be written: {e}", cache.display()))
        })?;
    }
    records.benchmark(repeat)
}

/// The records of a file.
///
/// # Errors
/// [`Error::Evaluation`] for a broken file.
pub fn read(mut file: impl Read) -> Result<Records> {
    let mut gathered = Gathered::default();
    let mut piece = Vec::new();
    let mut frames: Vec<(u64, std::ops::Range<usize>, u32)> = Vec::new();
    let mut offset = 0;
    loop {
        let more = next_frame(&mut file, &mut piece, &mut frames, &mut offset)?;
        if piece.len() >= PIECE || !more {
            let parsed: Vec<Result<Record>> = frames
                .par_iter()
                .map(|(at, range, checksum)| {
                    let payload = &piece[range.clone()];
                    if masked(payload) != *checksum {
                        return Err(broken(
                            *at,
                            "its checksum does not fit; the file is damaged, get it again",
                        ));
                    }
                    Record::parse(payload).map_err(|why| broken(*at, &why))
                })
                .collect();
            for (record, (at, ..)) in parsed.into_iter().zip(&frames) {
                gathered.add(record?).map_err(|why| broken(*at, &why))?;
            }
            piece.clear();
            frames.clear();
        }
        if !more {
            return gathered.finish();
        }
    }
}

fn broken(at: u64, why: &str) -> Error {
    Error::Evaluation(format!("the record at byte {at}: {why}"))
}

/// Appends the next payload to `piece`; false at the end of the file.
fn next_frame(
    file: &mut impl Read,
    piece: &mut Vec<u8>,
    frames: &mut Vec<(u64, std::ops::Range<usize>, u32)>,
    offset: &mut u64,
) -> Result<bool> {
    let at = *offset;
    let mut head = [0; 12];
    match fill(file, &mut head).map_err(|e| broken(at, &e.to_string()))? {
        0 => return Ok(false),
        12 => {}
        n => return Err(broken(at, &format!("the file ends after {n} of 12 bytes; it is cut short"))),
    }
    let [length, checksum] = [&head[..8], &head[8..]];
    let checksum = u32::from_le_bytes([checksum[0], checksum[1], checksum[2], checksum[3]]);
    if masked(length) != checksum {
        return Err(broken(
            at,
            "the checksum of its length does not fit; this is no TFRecord file, or it is damaged",
        ));
    }
    let length = u64::from_le_bytes(std::array::from_fn(|i| length[i]));
    if length > LONGEST {
        return Err(broken(at, &format!("it claims {length} bytes; expected at most {LONGEST}")));
    }
    let start = piece.len();
    let end = start + length as usize;
    piece.resize(end + 4, 0);
    let got = fill(file, &mut piece[start..]).map_err(|e| broken(at, &e.to_string()))?;
    if got as u64 != length + 4 {
        return Err(broken(
            at,
            &format!("the file ends after {got} of {} bytes; it is cut short", length + 4),
        ));
    }
    let tail = u32::from_le_bytes(std::array::from_fn(|i| piece[end + i]));
    piece.truncate(end);
    frames.push((at, start..end, tail));
    *offset = at + 12 + length + 4;
    Ok(true)
}

/// Reads until the buffer is full or the file ends; how many bytes.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

struct Record {
    key: u128,
    epochs: u32,
    cell: Cell,
    params: u32,
    training: Training,
}

impl Record {
    fn parse(payload: &[u8]) -> std::result::Result<Record, String> {
        type Row<'a> = (&'a str, u32, &'a str, &'a str, &'a str);
        let (key, epochs, matrix, ops, metrics): Row<'_> = serde_json::from_slice(payload).map_err(|e| {
            format!("expected a JSON list of key, epochs, adjacency, operations and metrics: {e}")
        })?;
        let key = u128::from_str_radix(key, 16)
            .ok()
            .filter(|_| key.len() == 32)
            .ok_or_else(|| "its key is not 32 hexadecimal digits".to_string())?;
        if epochs == 0 || epochs > FULL_EPOCHS {
            return Err(format!("it was trained for {epochs} epochs; expected 1 to {FULL_EPOCHS}"));
        }
        let cell = parse_cell(matrix, ops)?;
        let metrics = STANDARD.decode(metrics).map_err(|e| format!("its metrics are not base64: {e}"))?;
        let (params, training) = parse_metrics(&metrics)?;
        Ok(Record { key, epochs, cell, params, training })
    }
}

fn parse_cell(matrix: &str, ops: &str) -> std::result::Result<Cell, String> {
    let names: Vec<&str> = ops.split(',').collect();
    let n = names.len();
    let (Some(&"input"), Some(&"output"), 2..=MAX_VERTICES) = (names.first(), names.last(), n) else {
        return Err(format!("its operations are '{}'; expected input, up to five, output", clip(ops)));
    };
    if matrix.len() != n * n || matrix.bytes().any(|b| b != b'0' && b != b'1') {
        return Err(format!("its adjacency matrix is '{}'; expected {} digits 0 or 1", clip(matrix), n * n));
    }
    let mut edges = 0;
    for (i, _) in matrix.bytes().enumerate().filter(|(_, b)| *b == b'1') {
        let (x, y) = (i / n, i % n);
        if x >= y {
            return Err(format!("its adjacency matrix has an edge from {x} back to {y}"));
        }
        edges |= 1 << (x + y * (y - 1) / 2);
    }
    let code = |name: &&str| match *name {
        "conv3x3-bn-relu" => Ok(0),
        "conv1x1-bn-relu" => Ok(1),
        "maxpool3x3" => Ok(2),
        other => Err(format!("it has the unknown operation '{}'", clip(other))),
    };
    let codes = names[1..n - 1].iter().map(code).collect::<std::result::Result<Vec<u8>, _>>()?;
    Cell::new(n, edges, codes).ok_or_else(|| "its cell has too many vertices".to_string())
}

/// At most forty characters of a text from the file, for a message.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `ModelMetrics`: 1 repeated `EvaluationData`, 2 trainable parameters, 3 total time.
fn parse_metrics(bytes: &[u8]) -> std::result::Result<(u32, Training), String> {
    let mut moments = [[0.0; 4]; 3];
    let (mut n, mut params) = (0, None);
    let mut reader = Fields { bytes };
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => {
                let moment = moments.get_mut(n).ok_or("it has more than 3 evaluations")?;
                *moment = parse_moment(bytes)?;
                n += 1;
            }
            (2, Value::Varint(value)) => params = u32::try_from(value).ok(),
            _ => {}
        }
    }
    if n != 3 {
        return Err(format!("it has {n} evaluations; expected 3 (start, half way, end)"));
    }
    let params = params.ok_or("it has no number of parameters")?;
    Ok((params, [moments[1], moments[2]]))
}

/// `EvaluationData`: 1 epoch, 2 training time, 3 training, 4 validation, 5 test accuracy, 6 path.
fn parse_moment(bytes: &[u8]) -> std::result::Result<Moment, String> {
    let mut moment = [f32::NAN; 4];
    let mut reader = Fields { bytes };
    while let Some((field, value)) = reader.next()? {
        if let (2..=5, Value::Double(value)) = (field, value) {
            moment[(field as usize + 1) % 4] = value as f32;
        }
    }
    let [time, accuracies @ ..] = [moment[3], moment[0], moment[1], moment[2]];
    if !(time.is_finite() && time >= 0.0 && accuracies.iter().all(|a| (0.0..=1.0).contains(a))) {
        return Err(format!(
            "an evaluation has accuracies {accuracies:?} and time {time}; expected 0 to 1 and seconds"
        ));
    }
    Ok(moment)
}

enum Value<'a> {
    Varint(u64),
    Double(f64),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a protobuf message.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> std::result::Result<Option<(u64, Value<'a>)>, String> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Double(f64::from_le_bytes(self.take(8)?.try_into().map_err(|_| "internal")?)),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => {
                self.take(4)?;
                Value::Other
            }
            kind => return Err(format!("its protobuf has a field of kind {kind}, which does not exist")),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn take(&mut self, n: usize) -> std::result::Result<&'a [u8], String> {
        let (head, rest) = self.bytes.split_at_checked(n).ok_or("its protobuf is cut short")?;
        self.bytes = rest;
        Ok(head)
    }

    fn varint(&mut self) -> std::result::Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("its protobuf has a number of more than 64 bits".into())
    }
}

/// Records by cell and budget, in the order of the file.
#[derive(Default)]
struct Gathered {
    numbers: HashMap<u128, usize>,
    cells: Vec<Cell>,
    params: Vec<u32>,
    trainings: HashMap<(usize, u32), Vec<Training>>,
    budgets: Vec<u32>,
}

impl Gathered {
    fn add(&mut self, record: Record) -> std::result::Result<(), String> {
        let next = self.cells.len();
        let number = *self.numbers.entry(record.key).or_insert(next);
        if number == next {
            self.cells.push(record.cell);
            self.params.push(record.params);
        } else if self.cells[number] != record.cell || self.params[number] != record.params {
            return Err("an earlier record with its key has another cell".into());
        }
        let trainings = self.trainings.entry((number, record.epochs)).or_default();
        if trainings.len() == REPEATS {
            return Err(format!("its cell has more than {REPEATS} trainings of {} epochs", record.epochs));
        }
        trainings.push(record.training);
        if let Err(place) = self.budgets.binary_search(&record.epochs) {
            self.budgets.insert(place, record.epochs);
        }
        Ok(())
    }

    fn finish(self) -> Result<Records> {
        let Gathered { cells, params, trainings, budgets, .. } = self;
        if cells.is_empty() {
            return Err(Error::Evaluation("the file has no records".into()));
        }
        let mut all = Vec::with_capacity(cells.len() * budgets.len() * REPEATS);
        for number in 0..cells.len() {
            for &epochs in &budgets {
                let of = trainings.get(&(number, epochs)).map_or(&[][..], |of| of);
                if of.len() != REPEATS {
                    return Err(Error::Evaluation(format!(
                        "cell number {number} has {} trainings of {epochs} epochs; expected {REPEATS}: the file is not \
                         complete",
                        of.len()
                    )));
                }
                all.extend_from_slice(of);
            }
        }
        Ok(Records { cells, params, budgets, trainings: all })
    }
}

impl Records {
    /// The cells, in the order of their first record.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Every budget is a fidelity, and so is its half, unless another budget is as long.
    fn benchmark(&self, repeat: Option<usize>) -> Result<Benchmark> {
        let repeats = match repeat {
            None => 0..REPEATS,
            Some(repeat @ 0..REPEATS) => repeat..repeat + 1,
            Some(other) => {
                return Err(Error::Evaluation(format!(
                    "repeat is {other}; expected 0, 1, 2 or None for the mean"
                )));
            }
        };
        let mut moments: Vec<(f64, usize, usize)> = Vec::new();
        for (budget, &epochs) in self.budgets.iter().enumerate() {
            for (half, part) in [(1, 1.0), (0, 0.5)] {
                let fraction = f64::from(epochs) * part / f64::from(FULL_EPOCHS);
                if moments.iter().all(|(known, ..)| *known != fraction) {
                    moments.push((fraction, budget, half));
                }
            }
        }
        moments.sort_by(|a, b| a.0.total_cmp(&b.0));
        let longest = moments.last().map_or(1.0, |(fraction, ..)| *fraction);

        let level = |&(_, budget, half): &(f64, usize, usize), what: usize, unit: f64| -> Arc<[f64]> {
            (0..self.cells.len())
                .map(|number| {
                    let first = (number * self.budgets.len() + budget) * REPEATS;
                    let of = &self.trainings[first..first + REPEATS][repeats.clone()];
                    of.iter().map(|training| f64::from(training[half][what])).sum::<f64>() / of.len() as f64
                        * unit
                })
                .collect()
        };
        let column = |metric: Metric, what: usize, unit: f64| Column {
            metric,
            levels: moments.iter().map(|moment| level(moment, what, unit)).collect(),
        };
        let columns = vec![
            column(Metric::max("valid_accuracy"), 1, 100.0),
            column(Metric::max("test_accuracy"), 2, 100.0),
            column(Metric::max("train_accuracy"), 0, 100.0),
            column(Metric::min("training_seconds"), 3, 1.0),
            Column::constant(
                Metric::min("params"),
                self.params.iter().map(|&n| f64::from(n)).collect::<Vec<_>>(),
            ),
        ];
        let fidelities = moments.iter().map(|(fraction, ..)| fraction / longest).collect();
        nasbench101(&self.cells, fidelities, columns, "valid_accuracy")
    }
}

/// What tells one version of a file from another.
#[derive(Debug, PartialEq)]
struct Stamp {
    length: u64,
    modified: u64,
}

impl Stamp {
    fn of(path: &Path) -> std::io::Result<Stamp> {
        let about = std::fs::metadata(path)?;
        let modified = about.modified()?.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        Ok(Stamp { length: about.len(), modified })
    }
}

const MAGIC: &[u8; 16] = b"modularnas nb1 2";

/// Magic, then the checksum of all that follows: the stamp, counts, cells and trainings, little-endian.
fn write_cache(path: &Path, stamp: &Stamp, records: &Records) -> std::io::Result<()> {
    let mut body = Vec::with_capacity(32 + records.cells.len() * 16 + records.trainings.len() * 32);
    for number in [stamp.length, stamp.modified, records.cells.len() as u64, records.budgets.len() as u64] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    for budget in &records.budgets {
        body.extend_from_slice(&budget.to_le_bytes());
    }
    for (cell, params) in records.cells.iter().zip(&records.params) {
        body.push(cell.vertices() as u8);
        let ops = cell.ops().collect::<Vec<_>>();
        body.extend((0..MAX_VERTICES - 2).map(|i| ops.get(i).copied().unwrap_or(0)));
        body.extend_from_slice(&cell.edge_bits().to_le_bytes());
        body.extend_from_slice(&params.to_le_bytes());
    }
    for value in records.trainings.iter().flatten().flatten() {
        body.extend_from_slice(&value.to_le_bytes());
    }
    // Written aside and renamed, so that no other process sees half a file.
    let mut aside = PathBuf::from(path).into_os_string();
    aside.push(format!(".{}", std::process::id()));
    let mut file = BufWriter::new(File::create(&aside)?);
    file.write_all(MAGIC)?;
    file.write_all(&crc32c::crc32c(&body).to_le_bytes())?;
    file.write_all(&body)?;
    file.into_inner()?.sync_all()?;
    std::fs::rename(&aside, path)
}

/// `None` for a file that is missing, damaged, of another version or made of another file.
fn read_cache(path: &Path, stamp: &Stamp) -> Option<Records> {
    let bytes = std::fs::read(path).ok()?;
    let (magic, rest) = bytes.split_at_checked(MAGIC.len())?;
    let (checksum, body) = rest.split_at_checked(4)?;
    if magic != MAGIC || crc32c::crc32c(body).to_le_bytes() != *checksum {
        return None;
    }
    let mut rest = body;
    let mut take = |n: usize| -> Option<&[u8]> {
        let (head, tail) = rest.split_at_checked(n)?;
        rest = tail;
        Some(head)
    };
    let mut number = || Some(u64::from_le_bytes(take(8)?.try_into().ok()?));
    let found = Stamp { length: number()?, modified: number()? };
    let (n, budgets) = (usize::try_from(number()?).ok()?, usize::try_from(number()?).ok()?);
    if found != *stamp {
        return None;
    }
    let word = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    let mut records = Records {
        budgets: take(budgets.checked_mul(4)?)?.chunks_exact(4).map(word).collect::<Option<_>>()?,
        ..Records::default()
    };
    for row in take(n.checked_mul(14)?)?.chunks_exact(14) {
        let vertices = usize::from(row[0]);
        let ops = row.get(1..(vertices.checked_sub(1)?))?.iter().copied();
        records.cells.push(Cell::new(vertices, word(&row[6..10])?, ops)?);
        records.params.push(word(&row[10..14])?);
    }
    let values = n.checked_mul(budgets)?.checked_mul(REPEATS)?.checked_mul(32)?;
    for row in take(values)?.chunks_exact(32) {
        let at = |i: usize| f32::from_le_bytes([row[i * 4], row[i * 4 + 1], row[i * 4 + 2], row[i * 4 + 3]]);
        records.trainings.push([std::array::from_fn(at), std::array::from_fn(|i| at(i + 4))]);
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::space::Point;
    use crate::trial::Fidelity;

    /// Writes files in the official format, independently of the reader.
    mod write {
        pub(super) fn varint(mut n: u64, to: &mut Vec<u8>) {
            while n >= 0x80 {
                to.push(n as u8 | 0x80);
                n >>= 7;
            }
            to.push(n as u8);
        }

        fn double(field: u8, x: f64, to: &mut Vec<u8>) {
            to.push(field << 3 | 1);
            to.extend_from_slice(&x.to_le_bytes());
        }

        pub(super) fn metrics(params: u64, moments: &[[f64; 5]]) -> Vec<u8> {
            let mut message = Vec::new();
            for moment in moments {
                let mut inner = Vec::new();
                for (field, &x) in moment.iter().enumerate() {
                    double(field as u8 + 1, x, &mut inner);
                }
                inner.extend_from_slice(&[6 << 3 | 2, 3, b'a', b'/', b'b']);
                message.push(1 << 3 | 2);
                varint(inner.len() as u64, &mut message);
                message.extend(inner);
            }
            message.push(2 << 3);
            varint(params, &mut message);
            double(3, 99.5, &mut message);
            message
        }

        pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
            let mask = |crc: u32| crc.rotate_right(15).wrapping_add(0xa282ead8);
            let length = (payload.len() as u64).to_le_bytes();
            let mut frame = length.to_vec();
            frame.extend(mask(crc32c::crc32c(&length)).to_le_bytes());
            frame.extend(payload);
            frame.extend(mask(crc32c::crc32c(payload)).to_le_bytes());
            frame
        }
    }

    fn record(key: &str, epochs: u32, matrix: &str, ops: &str, params: u64, base: f64) -> Vec<u8> {
        use base64::Engine as _;
        let moment = |epoch: f64, time: f64, a: f64| [epoch, time, a + 0.03, a + 0.02, a + 0.01];
        let half = f64::from(epochs) / 2.0;
        let moments = [moment(0.0, 0.0, 0.1), moment(half, 10.0, base / 2.0), moment(2.0 * half, 20.0, base)];
        let metrics = base64::engine::general_purpose::STANDARD.encode(write::metrics(params, &moments));
        write::frame(format!(r#"["{key}", {epochs}, "{matrix}", "{ops}", "{metrics}"]"#).as_bytes())
    }

    const DIRECT: &str = "043721b9c7fe8c5fad811d47d83132ec";

    /// Two cells at 36 and 108 epochs, three trainings each.
    fn file() -> Vec<u8> {
        let conv = Cell::new(3, 0b101, [0]).unwrap().key();
        let mut bytes = Vec::new();
        for repeat in 0..3 {
            for epochs in [36, 108] {
                let base = 0.5 + f64::from(epochs) / 1000.0 + f64::from(repeat) / 100.0;
                bytes.extend(record(DIRECT, epochs, "0100", "input,output", 882_570, base));
                bytes.extend(record(
                    &conv,
                    epochs,
                    "010001000",
                    "input,conv3x3-bn-relu,output",
                    7_000_000,
                    base + 0.1,
                ));
            }
        }
        bytes
    }

    fn direct() -> Point {
        let mut codes = vec![0; 26];
        codes[15] = 1;
        Point::new(codes, [])
    }

    fn message(bytes: &[u8]) -> String {
        read(bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_file_in_the_exact_format_gives_means_and_single_trainings() {
        let records = read(&file()[..]).unwrap();
        assert_eq!(records.cells().len(), 2);
        assert_eq!(records.cells()[0].key(), DIRECT);
        let benchmark = records.benchmark(None).unwrap();
        assert_eq!(benchmark.fidelities(), [18.0 / 108.0, 36.0 / 108.0, 0.5, 1.0]);
        let close = |found: Vec<f64>, expected: [f64; 5]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?} {expected:?}");
        };
        let query = |benchmark: &Benchmark, fidelity| benchmark.query(&direct(), fidelity).unwrap();
        close(query(&benchmark, Fidelity::Full), [63.8, 62.8, 64.8, 20.0, 882_570.0]);
        close(query(&benchmark, Fidelity::Partial(0.5)), [32.9, 31.9, 33.9, 10.0, 882_570.0]);
        close(query(&benchmark, Fidelity::Partial(0.4)), [56.6, 55.6, 57.6, 20.0, 882_570.0]);
        close(
            query(&records.benchmark(Some(2)).unwrap(), Fidelity::Full),
            [64.8, 63.8, 65.8, 20.0, 882_570.0],
        );
        assert!(records.benchmark(Some(3)).is_err());
    }

    #[test]
    fn what_is_broken_is_said_with_its_place() {
        let bytes = file();
        assert!(
            message(&bytes[..bytes.len() - 1]).ends_with("it is cut short"),
            "{}",
            message(&bytes[..bytes.len() - 1])
        );
        assert!(message(&bytes[..5]).contains("byte 0: the file ends after 5 of 12 bytes"));
        assert_eq!(message(&[]), "the file has no records");
        let mut flipped = bytes.clone();
        flipped[40] ^= 1;
        assert!(message(&flipped).contains("byte 0: its checksum does not fit"));
        let mut huge = u64::MAX.to_le_bytes().to_vec();
        huge.extend(masked(&u64::MAX.to_le_bytes()).to_le_bytes());
        assert!(message(&huge).contains("it claims 18446744073709551615 bytes"));
        let one = record(DIRECT, 108, "0100", "input,output", 1, 0.5);
        assert!(message(&one).contains("has 1 trainings of 108 epochs; expected 3"));
        assert!(message(&one.repeat(4)).contains("more than 3 trainings"));
        let bad = |matrix, ops| message(&record(DIRECT, 108, matrix, ops, 1, 0.5));
        assert!(bad("0110", "input,output").contains("an edge from 1 back to 0"));
        assert!(bad("01001", "input,output").contains("expected 4 digits"));
        assert!(bad("0100", "input,conv9x9,output").contains("expected 9 digits"));
        assert!(bad("010001000", "input,conv9x9,output").contains("unknown operation 'conv9x9'"));
        assert!(message(&record(DIRECT, 108, "0100", "input,output", 1, 1.5)).contains("expected 0 to 1"));
        assert!(message(&write::frame(b"not json")).contains("expected a JSON list"));
        assert!(
            message(&write::frame(format!(r#"["{DIRECT}", 108, "0100", "input,output", "?"]"#).as_bytes()))
                .contains("not base64")
        );
        let mut other = record(DIRECT, 108, "0100", "input,output", 1, 0.5);
        other.extend(record(DIRECT, 108, "0100", "input,output", 2, 0.5));
        assert!(message(&other).contains("an earlier record with its key has another cell"));
    }

    proptest! {
        #[test]
        fn mutated_files_never_panic(
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = file();
            for (place, value) in flips {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            let _ = read(&bytes[..]);
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(read(&bytes[..]).is_err());
        }

        #[test]
        fn mutated_payloads_with_right_checksums_never_panic(
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
        ) {
            let mut payload = record(DIRECT, 108, "0100", "input,output", 1, 0.5);
            payload.truncate(payload.len() - 4);
            payload.drain(..12);
            for (place, value) in flips {
                let place = place.index(payload.len());
                payload[place] = value;
            }
            let _ = read(&write::frame(&payload)[..]);
        }

        #[test]
        fn any_bytes_as_metrics_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_metrics(&bytes);
        }

        #[test]
        fn varints_are_read_as_written(n in any::<u64>()) {
            let mut bytes = Vec::new();
            write::varint(n, &mut bytes);
            prop_assert_eq!(Fields { bytes: &bytes }.varint(), Ok(n));
        }
    }

    #[test]
    fn the_compact_copy_gives_the_same_and_is_made_anew_when_it_is_stale_or_damaged() {
        let folder = std::env::temp_dir().join(format!("modularnas-tfrecord-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, cache) = (folder.join("a.tfrecord"), folder.join("a.cache"));
        std::fs::write(&path, file()).unwrap();
        let query = |cache| {
            let benchmark = nasbench101_official(&path, cache, None).unwrap();
            benchmark.query(&direct(), Fidelity::Partial(0.5)).unwrap()
        };
        let expected = query(None);
        assert_eq!(query(Some(&cache)), expected);
        let stamp = Stamp::of(&path).unwrap();
        let good = std::fs::read(&cache).unwrap();
        assert_eq!(read_cache(&cache, &stamp).unwrap(), read(&file()[..]).unwrap());
        assert_eq!(read_cache(&cache, &Stamp { length: 1, ..stamp }), None);
        let mut bad = good.clone();
        bad[60] ^= 1;
        std::fs::write(&cache, &bad).unwrap();
        assert_eq!(read_cache(&cache, &Stamp::of(&path).unwrap()), None);
        assert_eq!(query(Some(&cache)), expected);
        assert_eq!(std::fs::read(&cache).unwrap(), good);
        let missing = nasbench101_official(&folder.join("none"), None, None).err().unwrap().to_string();
        assert!(missing.contains("none' cannot be read"), "{missing}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
