//! A program's memory and steps on the processor.

use std::sync::{MutexGuard, PoisonError};

use crate::backend::{Backend, Ops, Part, Place};
use crate::buffer::CanaryDied;
use crate::content;
use crate::device::{LoadedCode, Pools, SharedPool};
use crate::error::{Error, malformed};
use crate::instance::InstanceOptions;
use crate::interpret::{Memory, Run, allocate};
use crate::launch::Pointers;
use crate::memory;
use crate::pool::Pool;
use crate::prepared::local_bytes;
use crate::setting::Setting;
use crate::timer::Clock;
use crate::timing::Flusher;
use crate::topology::Pin;

/// Buffers of the host's memory, and threads that run launches on them.
#[derive(Debug)]
pub(crate) struct CpuBackend {
    pool: Option<SharedPool>,
    memory: Memory,
    ops: Ops,
    steps: Vec<i64>,
    pointers: Pointers,
    threads: usize,
    saved: Vec<Vec<u8>>,
}

impl CpuBackend {
    /// Counts and allocates the memory.
    pub(crate) fn new(
        setting: &Setting,
        ops: Ops,
        pools: &Pools,
        options: &InstanceOptions,
    ) -> Result<CpuBackend, Error> {
        let (threads, guarded) = (setting.threads, options.guarded);
        let local = ops.most(local_bytes);
        setting.check_memory((local as u64).saturating_mul(threads as u64))?;
        let layouts = &setting.layouts;
        let storages = layouts.iter().map(|l| allocate(l.bytes, guarded)).collect::<Result<Vec<_>, _>>()?;
        let locals = (0..threads).map(|_| allocate(local, guarded)).collect::<Result<Vec<_>, _>>()?;
        Ok(CpuBackend {
            pool: if threads > 1 { Some(pools.get(threads, options.pin)?) } else { None },
            memory: Memory { storage_of: (0..layouts.len()).collect(), storages, locals, guarded },
            ops,
            steps: vec![0; setting.program().step_vars],
            pointers: Pointers::default(),
            threads,
            saved: Vec::new(),
        })
    }
}

impl Backend for CpuBackend {
    fn run(&mut self, setting: &Setting, part: Part) -> Result<(), Error> {
        let LoadedCode::Cpu { kernels, .. } = &setting.loaded.inner.code else {
            return Err(malformed("the program is loaded on another device"));
        };
        let mut pool: Option<MutexGuard<'_, Pool>> =
            self.pool.as_ref().map(|pool| pool.lock().unwrap_or_else(PoisonError::into_inner));
        let mut run = Run {
            setting,
            kernels,
            memory: &mut self.memory,
            pool: pool.as_deref_mut(),
            steps: &mut self.steps,
            pointers: &mut self.pointers,
        };
        run.run(self.ops.of(part))
    }

    fn read(&self, buffer: usize, look: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        look(self.memory.storage(buffer).as_slice());
        Ok(())
    }

    fn write(&mut self, buffer: usize, make: &mut dyn FnMut(&mut [u8])) -> Result<(), Error> {
        make(self.memory.storage_mut(buffer).as_mut_slice());
        Ok(())
    }

    fn fill(&mut self, buffer: usize, pattern: &[u8]) -> Result<(), Error> {
        content::repeat(self.memory.storage_mut(buffer).as_mut_slice(), pattern);
        Ok(())
    }

    fn fill_scratch(&mut self, pattern: &[u8]) -> Result<(), Error> {
        for local in &mut self.memory.locals {
            content::repeat(local.as_mut_slice(), pattern);
        }
        Ok(())
    }

    fn dead_canary(&self) -> Result<Option<(Place, CanaryDied)>, Error> {
        let buffers = self.memory.storage_of.iter().map(|&s| &self.memory.storages[s]).enumerate();
        let all = buffers
            .map(|(b, storage)| (Place::Buffer(b), storage))
            .chain(self.memory.locals.iter().map(|local| (Place::Scratch, local)));
        let mut dead = all.filter_map(|(place, s)| s.check_canaries().err().map(|died| (place, died)));
        Ok(dead.next())
    }

    fn save(&mut self, buffers: &[usize]) -> Result<(), Error> {
        let bytes: usize = buffers.iter().map(|&b| self.memory.storage(b).len()).sum();
        memory::ask(bytes as u64)?;
        self.saved = buffers.iter().map(|&b| self.memory.storage(b).as_slice().to_vec()).collect();
        Ok(())
    }

    fn restore(&mut self, buffers: &[usize]) -> Result<(), Error> {
        for (&b, saved) in buffers.iter().zip(&self.saved) {
            self.memory.storage_mut(b).as_mut_slice().copy_from_slice(saved);
        }
        Ok(())
    }

    fn forget_saved(&mut self) {
        self.saved.clear();
    }

    fn flush(&mut self, flusher: &mut Flusher) -> Result<(), Error> {
        let mut pool = self.pool.as_ref().map(|pool| pool.lock().unwrap_or_else(PoisonError::into_inner));
        flusher.flush(pool.as_deref_mut())?;
        Ok(())
    }

    fn pointer(&mut self, buffer: usize) -> Option<*mut u8> {
        Some(self.memory.storage_mut(buffer).as_mut_ptr())
    }

    fn pin_caller(&self) -> Option<Pin> {
        match &self.pool {
            Some(pool) => pool.lock().unwrap_or_else(PoisonError::into_inner).pin_caller(),
            None => Some(Pin::current(None)),
        }
    }

    fn clock(&self) -> Clock {
        Clock::for_threads(self.threads)
    }

    fn device_seconds(&self) -> Option<f64> {
        None
    }
}
