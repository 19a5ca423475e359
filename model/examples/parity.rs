//! Compares the kernels of a device with their plain twins on the CPU: one JSON line for each operation and shape, then the
//! device. `cargo xtask parity` makes a table of it.
//!
//! usage: parity DEVICE
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program that measures prints what it found, or stops")]

use model::device::{DeviceChoice, OpenDevice};

fn main() {
    let device = std::env::args().nth(1).expect("usage: parity DEVICE, such as vulkan:0");
    let choice: DeviceChoice = device.parse().expect("a device");
    let open = OpenDevice::open(choice, None).expect("a device");
    for row in open.parity().expect("a device of the tensor engine") {
        println!("{}", serde_json::to_string(&row).expect("a row is JSON"));
    }
    println!("{}", serde_json::json!({ "device": open.description }));
}
