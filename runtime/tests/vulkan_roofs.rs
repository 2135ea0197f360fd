//! The roofs of a Vulkan device, in software too: every class is measured, and the figures make sense.

use std::io::Write;
use std::time::Duration;

use rooftile_artifact::DType;
use rooftile_artifact::profile::{Figure, Level, Pattern};
use rooftile_artifact::work::{OpClass, Work};
use rooftile_runtime::{Bound, Device, VulkanDevice, roof_time};

#[test]
fn every_class_is_measured() {
    let device = match VulkanDevice::open(0) {
        Ok(device) => device,
        Err(why) => {
            // Past the test harness, which keeps what a passing test prints.
            let _ = writeln!(std::io::stdout(), "\nSKIPPED: roofs of vulkan ({why})");
            return;
        }
    };
    let profile = device.measure_profile(Duration::ZERO).expect("measured");
    assert!(!profile.fingerprint.device.is_empty() && profile.target == *device.target());
    let features = device.target().gpu().expect("a GPU").features;
    // How large a figure is depends on what else the machine does.
    let ordered = |f: Figure| 0.0 < f.lo && f.lo <= f.median && f.median <= f.hi && f.hi.is_finite();
    let rate = |class, dtype| {
        let found = profile.compute.iter().find(|r| (r.class, r.dtype) == (class, dtype));
        let roof = found.unwrap_or_else(|| panic!("no roof of {class:?} {dtype}"));
        assert!(ordered(roof.rate) && roof.threads == 1, "{roof:?}");
    };
    for dtype in [DType::F32, DType::F64].into_iter().filter(|d| *d == DType::F32 || features.f64) {
        for class in [OpClass::Fma, OpClass::Div, OpClass::Sqrt, OpClass::Special] {
            rate(class, dtype);
        }
    }
    if features.f16 {
        rate(OpClass::Fma, DType::F16);
    }
    rate(OpClass::Int, DType::I32);
    for pattern in [Pattern::Read, Pattern::Copy, Pattern::Triad, Pattern::Axpy] {
        let mut farther = 0.0;
        for level in [Level::Dram, Level::L3, Level::L2, Level::L1] {
            let found = profile.memory.iter().find(|r| (r.level, r.pattern) == (level, pattern));
            let roof = found.unwrap_or_else(|| panic!("no roof of {level:?} {pattern:?}"));
            assert!(ordered(roof.rate) && roof.threads == 1, "{roof:?}");
            assert!(
                roof.rate.median >= farther,
                "{level:?} {pattern:?} is slower than what lies farther away"
            );
            farther = roof.rate.median;
        }
    }
    assert!(ordered(profile.launch), "{:?}", profile.launch);
    assert!(profile.noise >= 0.0);

    // One thread of the host launches, and still a launch takes its time.
    let nothing = Work { launches: 2.0, ..Work::default() };
    let roof = roof_time(&profile, &nothing, 1);
    assert!(roof.bound == Bound::Launch && roof.seconds == 2.0 * profile.launch.lo, "{roof:?}");
    let mut products = Work { bytes_read: 1e6, bytes_written: 1e3, launches: 1.0, ..Work::default() };
    products.add_ops(OpClass::Fma, DType::F32, 1e12);
    assert_eq!(roof_time(&profile, &products, 1).bound, Bound::Fma);
}
