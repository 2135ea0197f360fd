//! Recorded commands: what a run submits, and may submit again.
#![allow(unsafe_code, reason = "calls the Vulkan driver")]

use std::sync::Arc;

use ash::vk;

use crate::error::{Error, malformed};
use crate::vulkan::VulkanProgram;
use crate::vulkan::context::{Context, driver_said};
use crate::vulkan::memory::{Storage, Use};
use crate::vulkan::plan::{Command, Stretch};

/// A stretch of commands, recorded, with the data that it needs. Ticks of the device's clock are noted before its first
/// command and behind its last.
#[derive(Debug)]
pub(crate) struct Tape {
    context: Arc<Context>,
    pool: vk::CommandPool,
    /// What is submitted.
    pub(crate) commands: vk::CommandBuffer,
    queries: vk::QueryPool,
    /// Parameter blocks and, behind them, patterns.
    data: Storage,
    /// Bytes of the parameter blocks.
    blocks: usize,
}

/// What is recorded around a stretch.
#[derive(Debug)]
pub(crate) struct Around<'a> {
    /// The status words, which the first stretch clears.
    pub(crate) status: &'a Storage,
    /// Where the last stretch copies them to.
    pub(crate) readback: &'a Storage,
    pub(crate) first: bool,
    pub(crate) last: bool,
}

impl Tape {
    /// Records a stretch on the given storages.
    ///
    /// # Errors
    /// [`crate::DeviceError`] when the driver refuses, or has no memory for the data.
    pub(crate) fn record(
        program: &VulkanProgram,
        storages: &[Storage],
        stretch: &Stretch,
        around: &Around<'_>,
    ) -> Result<Tape, Error> {
        let context = &program.context;
        let cells = stretch.cells.len() * size_of::<u64>();
        let mut data = Storage::new(context, cells + stretch.patterns.len(), Use::Upload, false)?;
        data.write(&mut |bytes| {
            let (to_cells, to_patterns) = bytes.split_at_mut(cells);
            for (to, cell) in to_cells.chunks_exact_mut(size_of::<u64>()).zip(&stretch.cells) {
                to.copy_from_slice(&cell.to_le_bytes());
            }
            to_patterns.copy_from_slice(&stretch.patterns);
        })?;
        let queries = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(2);
        let device = &context.device;
        // SAFETY: the device is live.
        let queries =
            unsafe { device.create_query_pool(&queries, None) }.map_err(|e| driver_said("a clock", e))?;
        let (pool, commands) = match context.command_buffer() {
            Ok(both) => both,
            Err(e) => {
                // SAFETY: nothing uses it.
                unsafe { device.destroy_query_pool(queries, None) };
                return Err(e.into());
            }
        };
        let tape = Tape { context: Arc::clone(context), pool, commands, queries, data, blocks: cells };
        // SAFETY: the command buffer is new and not in use, the query pool has two queries.
        unsafe {
            let said = |e| driver_said("recording", e);
            device.begin_command_buffer(commands, &vk::CommandBufferBeginInfo::default()).map_err(said)?;
            device.cmd_reset_query_pool(commands, queries, 0, 2);
            if around.first {
                let (buffer, offset) = around.status.buffer();
                let bytes = around.status.len() as u64;
                device.cmd_fill_buffer(commands, buffer, offset, bytes, 0);
            }
            context.barrier(commands);
            if tape.has_clock() {
                device.cmd_write_timestamp(commands, vk::PipelineStageFlags::TOP_OF_PIPE, queries, 0);
            }
            for command in &stretch.commands {
                tape.command(program, storages, command)?;
                context.barrier(commands);
            }
            if tape.has_clock() {
                device.cmd_write_timestamp(commands, vk::PipelineStageFlags::BOTTOM_OF_PIPE, queries, 1);
            }
            if around.last {
                let ((from, src_offset), (to, dst_offset)) =
                    (around.status.buffer(), around.readback.buffer());
                let region = [vk::BufferCopy { src_offset, dst_offset, size: around.status.len() as u64 }];
                device.cmd_copy_buffer(commands, from, to, &region);
            }
            context.to_host(commands);
            device.end_command_buffer(commands).map_err(said)?;
        }
        Ok(tape)
    }

    /// The device's ticks before the first command and behind the last, after a run; `None` without a clock.
    pub(crate) fn ticks(&self) -> Option<(u64, u64)> {
        if !self.has_clock() {
            return None;
        }
        let mut ticks = [0u64; 2];
        let flags = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
        // SAFETY: both queries were written by the run that was waited for.
        let outcome =
            unsafe { self.context.device.get_query_pool_results(self.queries, 0, &mut ticks, flags) };
        outcome.ok().map(|()| (ticks[0], ticks[1]))
    }

    fn has_clock(&self) -> bool {
        self.context.found.tick_bits > 0
    }

    /// Records one command.
    fn command(&self, program: &VulkanProgram, storages: &[Storage], command: &Command) -> Result<(), Error> {
        let (device, commands) = (&self.context.device, self.commands);
        let (data, data_offset) = self.data.buffer();
        match *command {
            Command::Dispatch { kernel, phase, groups, block } => {
                let pipeline = program.kernels[kernel].phases[phase].pipeline;
                let address = self.data.address() + (block * size_of::<u64>()) as u64;
                let stages = vk::ShaderStageFlags::COMPUTE;
                // SAFETY: the pipeline is of this layout; the address is of a block that lives as long as the tape, which
                // names live storages of the extents that the program declared, and the code, the compiler's, keeps
                // within those.
                unsafe {
                    device.cmd_bind_pipeline(commands, vk::PipelineBindPoint::COMPUTE, pipeline);
                    let constants = address.to_le_bytes();
                    device.cmd_push_constants(commands, self.context.layout, stages, 0, &constants);
                    device.cmd_dispatch(commands, groups, 1, 1);
                }
            }
            Command::Fill { storage, word } => {
                let (buffer, offset) = storages[storage].buffer();
                let bytes = storages[storage].len() as u64 & !3;
                // SAFETY: the range is inside the live buffer, its limits multiples of 4.
                unsafe { device.cmd_fill_buffer(commands, buffer, offset, bytes, word) };
            }
            Command::Spread { storage, from, pattern, len } => {
                let (buffer, offset) = storages[storage].buffer();
                let end = storages[storage].len();
                let src_offset = data_offset + (self.blocks + pattern) as u64;
                let pieces = (from..end).step_by(len.max(1));
                let regions: Vec<_> = pieces
                    .map(|at| vk::BufferCopy {
                        src_offset,
                        dst_offset: offset + at as u64,
                        size: len.min(end - at) as u64,
                    })
                    .collect();
                // SAFETY: all regions are inside the two live buffers, which differ.
                unsafe { device.cmd_copy_buffer(commands, data, buffer, &regions) };
            }
            Command::Copy { from, to } => {
                let size = storages[from].len();
                if size != storages[to].len() {
                    return Err(malformed("a buffer is copied to one of another size"));
                }
                let ((from, src_offset), (to, dst_offset)) = (storages[from].buffer(), storages[to].buffer());
                if size > 0 {
                    let region = [vk::BufferCopy { src_offset, dst_offset, size: size as u64 }];
                    // SAFETY: the region is inside the two live buffers, which differ.
                    unsafe { device.cmd_copy_buffer(commands, from, to, &region) };
                }
            }
        }
        Ok(())
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        if self.context.hangs() {
            return;
        }
        // SAFETY: every run of the tape was waited for.
        unsafe {
            self.context.device.destroy_command_pool(self.pool, None);
            self.context.device.destroy_query_pool(self.queries, None);
        }
    }
}
