//! Compares the kernels of a device with their plain twins on the CPU: one JSON line for each operation and shape, then the
//! device. `cargo xtask parity` makes a table of it.
//!
//! usage: parity DEVICE [auto|f32|f16|bf16]
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program that measures prints what it found, or stops")]

use model::device::{DeviceChoice, OpenDevice};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let device = arguments.next().expect("usage: parity DEVICE [PRECISION], such as parity vulkan:0 f32");
    let precision = arguments.next().unwrap_or_else(|| "auto".to_owned());
    let choice: DeviceChoice = device.parse().expect("a device");
    let open = OpenDevice::open(choice, precision.parse().expect("a precision"), None).expect("a device");
    for row in open.parity().expect("a device of the tensor engine") {
        println!("{}", serde_json::to_string(&row).expect("a row is JSON"));
    }
    println!("{}", serde_json::json!({ "device": open.description }));
}
