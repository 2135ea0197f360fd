//! The user's own kernel, out of a shared library, run and timed on the same memory as ours.
#![allow(unsafe_code, reason = "loads a library and calls a function of it")]

use std::path::Path;

use libloading::Library;
use rooftile_artifact::HostTensor;

use crate::error::{Error, InputError, malformed};
use crate::instance::Instance;
use crate::prepared::cell;
use crate::timing::{Flusher, Subject};
use crate::topology::Pin;

/// How the function is called:
///
/// ```c
/// int32_t SYMBOL(void *const *tensors, const int64_t *sizes, const uint64_t *scalars, int64_t threads);
/// ```
///
/// `tensors` has one pointer a tensor parameter, in the order of the signature, row-major and aligned to 64 bytes. `sizes`
/// are the sizes of the signature in the order in which it names them first. Each scalar fills a cell of eight bytes as
/// in [`rooftile_artifact::abi::LaunchArgs::scalars`]. The result 0 is success.
pub type ForeignEntry = unsafe extern "C" fn(
    tensors: *const *mut u8,
    sizes: *const i64,
    scalars: *const u64,
    threads: i64,
) -> i32;

/// A function of a shared library in place of an instance's program, with that instance's memory.
#[derive(Debug)]
pub struct Foreign {
    instance: Instance,
    entry: ForeignEntry,
    symbol: String,
    scalars: Vec<u64>,
    // The entry points into it.
    _library: Library,
}

impl Foreign {
    /// Loads the library. Its initialisers run now; what the function does with the memory is its own responsibility.
    ///
    /// # Errors
    /// [`InputError::Library`] when the library cannot be loaded or has no such function, or the instance's memory is not
    /// the processor's.
    pub fn open(library: &Path, symbol: &str, mut instance: Instance) -> Result<Foreign, Error> {
        let refused = |why: libloading::Error| {
            let why = format!("`{symbol}`: {why}");
            Error::from(InputError::Library { path: library.to_owned(), why })
        };
        if instance.param_pointers().is_none() {
            let why = "functions of libraries run on the device cpu alone".to_owned();
            return Err(InputError::Library { path: library.to_owned(), why }.into());
        }
        // SAFETY: the user asks for this library by name; its initialisers are trusted as its function is.
        let loaded = unsafe { Library::new(library) }.map_err(refused)?;
        // SAFETY: the user says that the function has this type; a C symbol carries none that could be checked.
        let entry = *unsafe { loaded.get::<ForeignEntry>(symbol.as_bytes()) }.map_err(refused)?;
        let dtypes = instance.program().scalars.iter().map(|s| s.dtype);
        let scalars = instance.scalars().iter().zip(dtypes).map(|(v, dtype)| cell(*v, dtype)).collect();
        Ok(Foreign { instance, entry, symbol: symbol.to_owned(), scalars, _library: loaded })
    }

    /// Calls the function once.
    ///
    /// # Errors
    /// [`InputError::ForeignStatus`] when it does not return 0.
    pub fn run(&mut self) -> Result<(), Error> {
        let threads = i64::try_from(self.instance.threads()).unwrap_or(i64::MAX);
        let tensors =
            self.instance.param_pointers().ok_or_else(|| malformed("the memory moved to another device"))?;
        let sizes = self.instance.sizes();
        // SAFETY: the pointers are to live buffers of the extents that the signature has at these sizes, and nothing
        // else uses them during the call.
        let status =
            unsafe { (self.entry)(tensors.as_ptr(), sizes.as_ptr(), self.scalars.as_ptr(), threads) };
        match status {
            0 => Ok(()),
            status => Err(InputError::ForeignStatus { symbol: self.symbol.clone(), status }.into()),
        }
    }

    /// A parameter's content, as [`Instance::read_output`].
    ///
    /// # Errors
    /// As there.
    pub fn read_output(&self, param: usize) -> Result<HostTensor, Error> {
        self.instance.read_output(param)
    }
}

impl Subject for Foreign {
    fn run(&mut self) -> Result<(), Error> {
        Foreign::run(self)
    }

    fn threads(&self) -> usize {
        self.instance.threads()
    }

    fn last_level_cache(&self) -> usize {
        Subject::last_level_cache(&self.instance)
    }

    fn save(&mut self) {
        Subject::save(&mut self.instance);
    }

    fn restore(&mut self) {
        Subject::restore(&mut self.instance);
    }

    fn flush(&mut self, flusher: &mut Flusher) -> Result<(), Error> {
        Subject::flush(&mut self.instance, flusher)
    }

    fn pin(&self) -> Option<Pin> {
        Subject::pin(&self.instance)
    }
}
