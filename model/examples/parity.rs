//! Compares the kernels of a device with their plain twins on the CPU: one JSON line for each operation and shape, then the
//! device with the format. `cargo xtask parity` makes tables of it.
//!
//! usage: parity DEVICE [auto|all|f32|f16|bf16]
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program that measures prints what it found, or stops")]

use model::device::{DeviceChoice, Format, OpenDevice, Precision};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let device = arguments.next().expect("usage: parity DEVICE [PRECISION], such as parity vulkan:0 all");
    let precision = arguments.next().unwrap_or_else(|| "auto".to_owned());
    let choice: DeviceChoice = device.parse().expect("a device");
    let open = OpenDevice::open(choice, Precision::Auto, None).expect("a device");
    let offered = open.formats();
    let formats: Vec<Format> = match precision.as_str() {
        "all" => offered,
        "auto" => offered[..1].to_vec(),
        asked => offered.into_iter().filter(|format| format.to_string() == asked).collect(),
    };
    assert!(!formats.is_empty(), "{} has no {precision}", open.description);
    for format in formats {
        for row in open.parity(format) {
            println!("{}", serde_json::to_string(&row).expect("a row is JSON"));
        }
        println!("{}", serde_json::json!({ "device": open.description, "format": format }));
    }
}
