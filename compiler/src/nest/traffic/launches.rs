//! What the launches of a program move.

use std::collections::BTreeMap;

use rooftile_artifact::host_expr::HostEnv;
use rooftile_artifact::program::{Bindings, Step};
use rooftile_artifact::{HostTensor, Scalar};

use super::{Caches, Traffic, of_nest};
use crate::nest::VerifiedModule;

/// Passes of a repeat that are gone through one by one; of more, three stand for all.
const MOST_PASSES: i64 = 64;

/// All launches of one kernel together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelTraffic {
    /// Launches.
    pub launches: f64,
    /// What they move; `None` where some could not be followed.
    pub traffic: Option<Traffic>,
}

/// What each kernel of a module moves, all of its launches together; `tensors` are the program's parameters, as far as
/// they are known.
#[must_use]
pub fn of_module(
    module: &VerifiedModule,
    bindings: &Bindings,
    tensors: &[Option<HostTensor>],
    caches: &Caches,
) -> Vec<KernelTraffic> {
    let none = KernelTraffic { launches: 0.0, traffic: Some(Traffic::default()) };
    let all = vec![none; module.nests().len()];
    let mut launches = Launches { module, bindings, tensors, caches, seen: BTreeMap::new(), all };
    let mut vars = vec![0; module.program().step_vars];
    launches.steps(&module.program().steps, 1.0, &mut vars);
    launches.all
}

/// A kernel with the values of its sizes and scalars.
type Launch = (usize, Vec<i64>, String);

struct Launches<'a> {
    module: &'a VerifiedModule,
    bindings: &'a Bindings,
    tensors: &'a [Option<HostTensor>],
    caches: &'a Caches,
    seen: BTreeMap<Launch, Option<Traffic>>,
    all: Vec<KernelTraffic>,
}

impl Launches<'_> {
    fn steps(&mut self, steps: &[Step], times: f64, vars: &mut Vec<i64>) {
        for step in steps {
            let now = vars.clone();
            let Bindings { sizes, scalars } = self.bindings;
            let env = HostEnv { sizes, scalars, steps: &now, threads: 1 };
            match step {
                Step::Launch { kernel, buffers, sizes, scalars } => {
                    let sizes: Option<Vec<i64>> = sizes.iter().map(|e| e.eval_int(&env).ok()).collect();
                    let scalars: Option<Vec<Scalar>> = scalars.iter().map(|e| e.eval(&env).ok()).collect();
                    self.launch(*kernel, buffers, sizes.zip(scalars), times);
                }
                Step::Repeat { var, lo, hi, body, .. } => {
                    let (Ok(lo), Ok(hi)) = (lo.eval_int(&env), hi.eval_int(&env)) else { continue };
                    let passes = hi.saturating_sub(lo).max(0);
                    let followed: Vec<(i64, f64)> = if passes <= MOST_PASSES {
                        (0..passes).map(|n| (n, 1.0)).collect()
                    } else {
                        vec![(0, 1.0), ((passes - 1) / 2, passes as f64 - 2.0), (passes - 1, 1.0)]
                    };
                    for (n, share) in followed {
                        vars[*var] = lo + n;
                        self.steps(body, times * share, vars);
                    }
                }
                Step::If { cond, then, otherwise } => {
                    let taken = cond.eval(&env).map_or(true, Scalar::is_true);
                    self.steps(if taken { then } else { otherwise }, times, vars);
                }
                Step::Fill { .. } | Step::Copy { .. } => {}
            }
        }
    }

    fn launch(
        &mut self,
        kernel: usize,
        buffers: &[usize],
        values: Option<(Vec<i64>, Vec<Scalar>)>,
        times: f64,
    ) {
        let traffic = values.and_then(|(sizes, scalars)| {
            let content = |slot: u32, at: usize| {
                let buffer = *buffers.get(slot as usize)?;
                let tensor = self.tensors.get(buffer)?.as_ref()?;
                (at < tensor.len()).then(|| tensor.get(at).as_i64())
            };
            let nest = &self.module.nests()[kernel];
            let key = (kernel, sizes, format!("{scalars:?} {buffers:?}"));
            if let Some(known) = self.seen.get(&key) {
                return known.clone();
            }
            let found = of_nest(nest, &key.1, &scalars, &content, self.caches);
            self.seen.insert(key, found.clone());
            found
        });
        let all = &mut self.all[kernel];
        all.launches += times;
        let (Some(sum), Some(one)) = (&mut all.traffic, traffic) else {
            all.traffic = None;
            return;
        };
        sum.loads += times * one.loads;
        sum.stores += times * one.stores;
        sum.past += times * one.past;
        for (level, more) in sum.levels.iter_mut().zip(one.levels) {
            *level = level.plus(more, times);
        }
        sum.guessed |= one.guessed;
        for name in one.gathered {
            if !sum.gathered.contains(&name) {
                sum.gathered.push(name);
            }
        }
    }
}
