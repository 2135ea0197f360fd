//! What a search and its worker process say to each other: frames of a length (four bytes, little-endian) and so much
//! JSON, over the worker's standard input and output.

use std::io::{self, Read, Write};

use rooftile_artifact::Profile;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::local::Cost;
use crate::bench::{Effort, Failure, Measured, Prepared, SizeInfo, Sizes, Verified};
use crate::candidate::Recipe;

/// Longest frame accepted: more is not a frame but noise.
const LONGEST: u32 = 256 << 20;

/// What a worker is told first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The file's name, for messages.
    pub file: String,
    /// The file's text.
    pub text: String,
    /// Kernel or pipeline; by default the file's only one.
    pub entry: Option<String>,
    /// Device.
    pub device: String,
    /// Threads of the kernels; 0 for the device's default.
    pub threads: usize,
    /// The machine as measured.
    pub profile: Option<Profile>,
    /// The run's seed.
    pub seed: u64,
    /// What a candidate's time is.
    pub cost: Cost,
    /// Folder for results of the oracle.
    pub cache: Option<std::path::PathBuf>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Get ready for a task.
    Setup(Box<Task>),
    /// [`crate::bench::Bench::size_info`].
    SizeInfo(Sizes),
    /// [`crate::bench::Bench::prepare`].
    Prepare(Recipe, Vec<Sizes>),
    /// [`crate::bench::Bench::verify`].
    Verify(Recipe, u64),
    /// [`crate::bench::Bench::measure`].
    Measure(Recipe, Sizes, Effort),
    /// [`crate::bench::Bench::pair`].
    Pair(Recipe, Recipe, Sizes, usize),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Ready.
    Ready,
    /// Of a size.
    SizeInfo(SizeInfo),
    /// Lowered.
    Prepared(Prepared),
    /// Checked.
    Verified(Verified),
    /// Timed.
    Measured(Measured),
    /// Timed in pairs.
    Pairs(Vec<(f64, f64)>),
    /// The candidate failed.
    Failed(Failure),
}

/// Writes a frame.
///
/// # Errors
/// Those of the stream.
pub fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&body)?;
    to.flush()
}

/// Reads a frame; `None` where the stream ends before one begins.
///
/// # Errors
/// Those of the stream, and what is not a frame.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::Error::other("a frame that is too long"));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Reason;

    #[test]
    fn frames_round_trip() {
        let replies = [
            Reply::Ready,
            Reply::Pairs(vec![(1.0 / 3.0, 0.1)]),
            Reply::Failed(Failure::new(Reason::Crash, "signal 11")),
        ];
        let mut stream = Vec::new();
        for reply in &replies {
            send(&mut stream, reply).expect("memory");
        }
        let mut from = &stream[..];
        for reply in &replies {
            assert_eq!(receive::<Reply>(&mut from).expect("a frame").as_ref(), Some(reply));
        }
        assert_eq!(receive::<Reply>(&mut from).expect("the end"), None);
        assert!(receive::<Reply>(&mut &[0xff, 0xff, 0xff, 0xff, 0][..]).is_err());
        assert!(receive::<Reply>(&mut &[9, 0, 0, 0, b'x'][..]).is_err());
    }
}
