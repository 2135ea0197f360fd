//! Results of the oracle by content, in the user's cache folder: a restarted worker, a resumed run and the next search
//! of the same task need not compute them again.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rooftile_compiler::oracle::{Data, Outputs, Values};

/// Bytes that the folder may hold; the oldest files go first.
const LIMIT: u64 = 2 << 30;

/// A folder of results.
#[derive(Clone, Debug)]
pub struct OracleCache {
    folder: PathBuf,
}

impl OracleCache {
    /// The cache in a folder, which is made if need be. `None` when that is refused: a search works without.
    #[must_use]
    pub fn open(folder: &Path) -> Option<OracleCache> {
        fs::create_dir_all(folder).ok()?;
        Some(OracleCache { folder: folder.to_owned() })
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("oracle-{}.bin", blake3::hash(key.as_bytes()).to_hex()))
    }

    /// The result of a key; `None` when it is not there, or damaged.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Outputs> {
        let bytes = fs::read(self.path(key)).ok()?;
        let (sum, body) = bytes.split_at_checked(32)?;
        if blake3::hash(body).as_bytes() != sum {
            return None;
        }
        decode(&mut &body[..]).ok()
    }

    /// Keeps a result; failing to is not an error. Whoever reads meanwhile sees the whole or nothing.
    pub fn put(&self, key: &str, outputs: &Outputs) {
        let mut body = Vec::new();
        encode(&mut body, outputs);
        let part = self.folder.join(format!("part-{}", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file = fs::File::create(&part)?;
            file.write_all(blake3::hash(&body).as_bytes())?;
            file.write_all(&body)?;
            fs::rename(&part, self.path(key))
        };
        if write().is_err() {
            let _ = fs::remove_file(&part);
        }
        self.trim();
    }

    fn trim(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<_> = entries
            .filter_map(|e| {
                let e = e.ok()?;
                let meta = e.metadata().ok()?;
                let name = e.file_name();
                let ours = name.to_str().is_some_and(|n| n.starts_with("oracle-"));
                ours.then_some((meta.modified().ok()?, meta.len(), e.path()))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|f| f.1).sum();
        for (_, bytes, path) in files {
            if total <= LIMIT {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total -= bytes;
            }
        }
    }
}

fn encode(out: &mut Vec<u8>, outputs: &Outputs) {
    let number = |out: &mut Vec<u8>, v: usize| out.extend((v as u64).to_le_bytes());
    number(out, outputs.tensors.len());
    for values in &outputs.tensors {
        let dtype = values.dtype.to_string();
        number(out, dtype.len());
        out.extend(dtype.as_bytes());
        number(out, values.shape.len());
        for extent in &values.shape {
            number(out, *extent);
        }
        match &values.data {
            Data::Float(v) => {
                out.push(0);
                v.iter().for_each(|x| out.extend(x.to_le_bytes()));
            }
            Data::Complex(v) => {
                out.push(1);
                v.iter().for_each(|(re, im)| {
                    out.extend(re.to_le_bytes());
                    out.extend(im.to_le_bytes());
                });
            }
            Data::Int(v) => {
                out.push(2);
                v.iter().for_each(|x| out.extend(x.to_le_bytes()));
            }
            Data::Bool(v) => {
                out.push(3);
                v.iter().for_each(|x| out.push(u8::from(*x)));
            }
        }
    }
}

fn decode(from: &mut &[u8]) -> io::Result<Outputs> {
    fn word(from: &mut &[u8]) -> io::Result<[u8; 8]> {
        let mut b = [0; 8];
        from.read_exact(&mut b)?;
        Ok(b)
    }
    fn number(from: &mut &[u8]) -> io::Result<usize> {
        usize::try_from(u64::from_le_bytes(word(from)?)).map_err(io::Error::other)
    }
    fn list<T>(n: usize, mut f: impl FnMut() -> io::Result<T>) -> io::Result<Vec<T>> {
        (0..n).map(|_| f()).collect()
    }
    let mut tensors = Vec::new();
    for _ in 0..number(from)? {
        let mut name = vec![0; number(from)?.min(16)];
        from.read_exact(&mut name)?;
        let name = String::from_utf8(name).map_err(io::Error::other)?;
        let dtype = name.parse().map_err(io::Error::other)?;
        let rank = number(from)?;
        let shape = list(rank, || number(from))?;
        let n = shape.iter().product();
        let mut kind = [0];
        from.read_exact(&mut kind)?;
        let data = match kind[0] {
            0 => Data::Float(list(n, || Ok(f64::from_le_bytes(word(from)?)))?),
            1 => Data::Complex(list(n, || {
                Ok((f64::from_le_bytes(word(from)?), f64::from_le_bytes(word(from)?)))
            })?),
            2 => Data::Int(list(n, || Ok(i64::from_le_bytes(word(from)?)))?),
            _ => Data::Bool(list(n, || {
                let mut b = [0];
                from.read_exact(&mut b)?;
                Ok(b[0] != 0)
            })?),
        };
        tensors.push(Values { dtype, shape, data });
    }
    Ok(Outputs { tensors })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rooftile_artifact::DType;

    #[test]
    fn results_come_back_and_damage_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = OracleCache::open(folder.path()).expect("writable");
        let outputs = Outputs {
            tensors: vec![
                Values { dtype: DType::F32, shape: vec![2, 1], data: Data::Float(vec![1.5, f64::INFINITY]) },
                Values { dtype: DType::I32, shape: vec![1], data: Data::Int(vec![-7]) },
                Values { dtype: DType::Bool, shape: vec![], data: Data::Bool(vec![true]) },
                Values { dtype: DType::C64, shape: vec![1], data: Data::Complex(vec![(1.0, -1.0)]) },
            ],
        };
        assert_eq!(cache.get("k"), None);
        cache.put("k", &outputs);
        assert_eq!(cache.get("k"), Some(outputs));
        let path = cache.path("k");
        let mut bytes = fs::read(&path).expect("there");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).expect("writable");
        assert_eq!(cache.get("k"), None);
    }
}
