//! The networks on an NVIDIA GPU, held against the CPU. `make cuda-try` runs these on a machine that has one; a network
//! that is new joins the list of its job here.

use std::time::Duration;

use accessd::clock::{Clock, SystemClock};
use accessd::encoder::network::Encoder;
use accessd::frame::load_image;
use accessd::models::Library;
use accessd::nn::device;
use accessd::vision::align::align;
use accessd::vision::yunet::{ARCHITECTURE as DETECTOR, Detector};
use candle_core::Device;

use crate::support::{models_dir, photo};

/// How far a value may be off: the GPU sums in another order.
const TOLERANCE: f32 = 1e-3;
/// Runs that are timed, after one that is not.
const RUNS: u32 = 20;

/// The mean time of a run.
fn timed(mut run: impl FnMut()) -> Duration {
    run();
    let start = SystemClock.now();
    (0..RUNS).for_each(|_| run());
    SystemClock.now().since(start) / RUNS
}

fn tell(network: &str, off: f32, cpu: Duration, cuda: Duration) {
    println!("{network}: largest difference {off:.1e}, CPU {cpu:.2?}, CUDA {cuda:.2?} a pass");
    assert!(off <= TOLERANCE, "{network} differs by {off}");
}

#[test]
#[ignore = "needs an NVIDIA GPU: make cuda-try"]
fn the_encoders_are_those_of_the_cpu() {
    let cuda = device("cuda").unwrap();
    let library = Library::new(&models_dir());
    let image = load_image(&photo("obama.jpg")).unwrap();
    let file = library.load(DETECTOR, "detector").unwrap();
    let face = Detector::new(&file, &Device::Cpu, 320, 0.7).unwrap().detect(&image).unwrap()[0];
    let crop = align(&image, &face.landmarks);
    for name in ["sface", "mobilefacenet"] {
        let Ok(file) = library.load(name, "encoder") else {
            println!("{name}: not installed, left out");
            continue;
        };
        let (mut here, mut there) =
            (Encoder::new(&file, &Device::Cpu).unwrap(), Encoder::new(&file, &cuda).unwrap());
        let (a, b) = (here.embed(&[&crop]).unwrap(), there.embed(&[&crop]).unwrap());
        let off = a[0].values().iter().zip(b[0].values()).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        let on_cpu = timed(|| drop(here.embed(&[&crop]).unwrap()));
        let on_cuda = timed(|| drop(there.embed(&[&crop]).unwrap()));
        tell(name, off, on_cpu, on_cuda);
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU: make cuda-try"]
fn the_detector_is_that_of_the_cpu() {
    let cuda = device("cuda").unwrap();
    let file = Library::new(&models_dir()).load(DETECTOR, "detector").unwrap();
    let image = load_image(&photo("obama.jpg")).unwrap();
    let mut here = Detector::new(&file, &Device::Cpu, 320, 0.7).unwrap();
    let mut there = Detector::new(&file, &cuda, 320, 0.7).unwrap();
    let (a, b) = (here.detect(&image).unwrap(), there.detect(&image).unwrap());
    assert_eq!(a.len(), b.len(), "another number of faces");
    // Relative to the face: pixels have no scale of their own.
    let off = a.iter().zip(&b).map(|(x, y)| (x.bbox.x - y.bbox.x).abs() / x.bbox.w).fold(0.0, f32::max);
    let on_cpu = timed(|| drop(here.detect(&image).unwrap()));
    let on_cuda = timed(|| drop(there.detect(&image).unwrap()));
    tell(DETECTOR, off, on_cpu, on_cuda);
}
