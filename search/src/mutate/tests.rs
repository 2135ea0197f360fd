use std::collections::BTreeMap;

use proptest::prelude::*;
use rooftile_compiler::driver::check;
use rooftile_compiler::schedule::plan::{Amount, AxisRef, Plan, Verb};
use rooftile_compiler::schedule::print::verb_text;

use super::anchors::{AxisAnchor, TensorAnchor};
use super::space::Product;
use super::*;
use crate::candidate::amounts;
use crate::rng::Rng;

/// The names of a matrix product.
pub(crate) fn matmul_anchors() -> Anchors {
    let axis = |name: &str, tile: &str, reduced, inner| AxisAnchor {
        name: name.into(),
        tiled: true,
        reduced,
        inner,
        tile: Some(tile.into()),
        ..AxisAnchor::default()
    };
    let tensor = |name: &str, read| TensorAnchor {
        name: name.into(),
        read,
        written: !read,
        rank: 2,
        own: false,
        constant: false,
    };
    Anchors {
        axes: vec![axis("i", "bm", false, false), axis("j", "bn", false, true), axis("k", "bk", true, false)],
        values: vec!["acc".into()],
        lets: vec!["acc".into()],
        tensors: vec![tensor("A", true), tensor("B", true), tensor("C", false)],
        ..Anchors::default()
    }
}

pub(crate) fn matmul_space() -> Product {
    Product(BTreeMap::from([
        ("bm".to_owned(), vec![16, 32, 64]),
        ("bn".to_owned(), vec![16, 32, 64]),
        ("bk".to_owned(), vec![32, 64]),
        ("gpu_only".to_owned(), vec![1, 2, 4]),
    ]))
}

fn mutator(reassoc: bool) -> Mutator {
    Mutator::new(matmul_anchors(), Box::new(matmul_space()), Allowed { reassoc, ..Allowed::default() })
}

fn start(mutator: &Mutator) -> Recipe {
    let mut rng = Rng::for_step(0, 0);
    Recipe { assignment: mutator.space().sample(&mut rng).expect("a point"), ..Recipe::default() }
}

proptest! {
    /// Long walks of moves stay in normal form, name only what there is, keep tunables legal, and never change
    /// more than the task allows.
    #[test]
    fn walks_stay_well_formed(seed in any::<u64>(), reassoc in any::<bool>()) {
        let m = mutator(reassoc);
        let mut rng = Rng::for_step(seed, 0);
        let mut recipe = start(&m);
        for _ in 0..60 {
            let operator = *rng.pick(m.operators()).expect("operators");
            let Some((child, class)) = m.apply(operator, &recipe, &mut rng) else { continue };
            prop_assert!(child != recipe, "{operator:?} changed nothing");
            prop_assert!(reassoc || class == Class::X, "{operator:?} is {class}");
            let mut again = child.plan.clone();
            normal::normalise(&mut again);
            prop_assert_eq!(&again, &child.plan);
            for (name, value) in &child.assignment {
                prop_assert!(m.space().values(name).contains(value), "{name} = {value}");
            }
            for verb in &child.plan.verbs {
                let least = if matches!(verb, Verb::Prefetch { .. }) { 0 } else { 1 };
                prop_assert!(
                    amounts(verb).iter().all(|a| !matches!(a, Amount::Int(n) if *n < least)),
                    "{verb:?}"
                );
                if let Verb::Order(order) = verb {
                    check_order(order, &child.plan)?;
                }
                if let Verb::Stage { at, deep: Some(q), .. } = verb {
                    let divides = |v: &Verb| match v {
                        Verb::Unroll { axis, count } if *axis == at.name => {
                            matches!(count, Some(Amount::Int(n)) if q % n == 0)
                        }
                        _ => true,
                    };
                    prop_assert!(child.plan.verbs.iter().all(divides), "{:?}", child.plan);
                }
            }
            recipe = child;
        }
    }

    #[test]
    fn children_of_two_come_from_both(seed in any::<u64>()) {
        let m = mutator(true);
        let mut rng = Rng::for_step(seed, 1);
        let mut walk = |steps: usize| {
            let mut r = start(&m);
            for _ in 0..steps {
                let operator = *rng.pick(m.operators()).expect("operators");
                if let Some((child, _)) = m.apply(operator, &r, &mut rng) {
                    r = child;
                }
            }
            r
        };
        let (a, b) = (walk(10), walk(10));
        if let Some((child, _)) = m.cross(&a, &b, &mut rng) {
            for verb in &child.plan.verbs {
                // The panel of a copy follows the vectors, which may come from the other parent.
                let from = |p: &Recipe| match verb {
                    Verb::Stage { tensor, at, .. } => p.plan.verbs.iter().any(
                        |v| matches!(v, Verb::Stage { tensor: t, at: a, .. } if t == tensor && a == at),
                    ),
                    _ => p.plan.verbs.contains(verb),
                };
                prop_assert!(from(&a) || from(&b), "{verb:?}");
            }
            for (name, value) in &child.assignment {
                prop_assert!(a.assignment.get(name) == Some(value) || b.assignment.get(name) == Some(value));
            }
        }
    }
}

fn check_order(order: &[AxisRef], plan: &Plan) -> Result<(), TestCaseError> {
    for (n, r) in order.iter().enumerate() {
        prop_assert!(!order[..n].contains(r), "{order:?}");
        let earlier = order[..n].iter().filter(|e| e.name == r.name);
        prop_assert!(earlier.into_iter().all(|e| e.level < r.level), "{order:?}");
        let deepest = plan.verbs.iter().find_map(|v| match v {
            Verb::Tile { axis, sizes } if *axis == r.name => Some(sizes.len()),
            _ => None,
        });
        let deepest = u32::try_from(deepest.unwrap_or(1)).unwrap_or(0);
        prop_assert!(r.level.is_none_or(|l| l <= deepest), "{order:?}");
    }
    Ok(())
}

#[test]
fn operators_without_a_subject_are_left_out() {
    let with = mutator(true);
    assert!(with.operators().contains(&Operator::Split));
    assert!(!with.operators().contains(&Operator::Scan));
    assert!(!mutator(false).operators().contains(&Operator::Split));
}

#[test]
fn tunables_that_cannot_matter_are_left_alone() {
    let m = mutator(true);
    let parent = start(&m);
    let mut rng = Rng::for_step(9, 9);
    for _ in 0..50 {
        if let Some((child, _)) = m.apply(Operator::Tune, &parent, &mut rng) {
            assert_eq!(child.assignment["gpu_only"], parent.assignment["gpu_only"]);
        }
    }
}

/// Integer scatters and reductions are offered atomic updates, with the passes that meet there shared out.
#[test]
fn integers_are_updated_by_atomics() {
    let text = include_str!("../../../tests/samples/15_tally.tile");
    let checked = check(text);
    for (entry, operator) in [("tally", Operator::Scatter), ("rows", Operator::Split)] {
        let id = checked.hir.entry(entry).expect("a kernel of the sample");
        for allowed in [Allowed { reassoc: true, ..Allowed::default() }, Allowed::default()] {
            let m = Mutator::new(Anchors::of(&checked.hir, id), Box::new(Product::default()), allowed)
                .with_plausible(plausible::anchors(&checked.hir, id));
            if !m.operators().contains(&operator) {
                continue;
            }
            let mut rng = Rng::for_step(3, 7);
            let moves = (0..40).filter_map(|_| m.apply(operator, &Recipe::default(), &mut rng));
            let proposed: Vec<Recipe> = moves.map(|(child, _)| child).collect();
            let atomic = |r: &&Recipe| r.plan.verbs.iter().any(|v| verb_text(v).contains("= atomic"));
            let some: Vec<&Recipe> = proposed.iter().filter(atomic).collect();
            assert!(!some.is_empty() && some.len() < proposed.len(), "{entry}: {proposed:?}");
            let shared = |r: &Recipe| r.plan.verbs.iter().any(|v| matches!(v, Verb::Parallel { .. }));
            assert!(operator == Operator::Split || some.iter().all(|r| shared(r)), "{some:?}");
        }
    }
}

/// Threads along a scanned axis change the association, where the task allows that; lanes of a processor do not.
#[test]
fn threads_combine_what_a_scan_adds_up() {
    let checked = check(include_str!("../../../tests/samples/13_scan.tile"));
    let id = checked.hir.entry("scan1").expect("a kernel of the sample");
    for (gpu, reassoc) in [(true, true), (true, false), (false, true)] {
        let allowed = Allowed { reassoc, ..Allowed::default() };
        let names = plausible::Anchors { gpu, ..plausible::anchors(&checked.hir, id) };
        let m = Mutator::new(Anchors::of(&checked.hir, id), Box::new(Product::default()), allowed)
            .with_plausible(names);
        let thread = Verb::Thread { axis: "i".into(), count: None };
        let changes = gpu && reassoc;
        assert_eq!(m.class_of_verb(&thread), if changes { Class::R } else { Class::X });
        assert_eq!(m.class_of("bn"), if changes { Class::R } else { Class::X });
    }
}

/// Tensors that are read at shifted places are copied as windows, which have no panels.
#[test]
fn windows_are_proposed() {
    let checked = check(include_str!("../../../dsl-examples/conv2d.tile"));
    let id = checked.hir.entry("conv2d").expect("a kernel");
    let m = Mutator::new(Anchors::of(&checked.hir, id), Box::new(Product::default()), Allowed::default())
        .with_plausible(plausible::anchors(&checked.hir, id));
    let mut rng = Rng::for_step(3, 7);
    let moves = (0..60).filter_map(|_| m.apply(Operator::Stage, &Recipe::default(), &mut rng));
    let of_x = |r: &Recipe| {
        let window = |v: &Verb| matches!(v, Verb::Stage { tensor, panel: None, .. } if tensor == "X");
        r.plan.verbs.iter().any(window)
    };
    assert!(moves.filter(|(child, _)| of_x(child)).count() > 5);
}
