//! Rules on who may do what: read and write files, print, start programs, open sockets, draw random numbers, name devices,
//! drivers and tensors. Each rule is a list of words and the places that may say them, with the reason.
//!
//! Owns the rules. Knows words in lines and nothing of what code means: tests, examples and comments are free.

use super::code::{has_word, identifiers, product_lines};
use super::{Finding, TextFile, lists};

/// A place that may do what others may not.
struct Place {
    /// A file, or a folder with its `/`.
    path: &'static str,
    /// Why there.
    why: &'static str,
}

/// What a few places may say and no other.
struct Border {
    /// Words that stand by themselves. With `::` before or behind them these belong to it; `!` and `()` too.
    words: &'static [&'static str],
    /// Where they may stand.
    places: &'static [Place],
    /// What to do instead.
    instead: &'static str,
}

const BORDERS: [Border; 8] = [
    Border {
        words: &[
            "fs::read",
            "fs::read_to_string",
            "fs::write",
            "File::open",
            "File::create",
            "File::create_new",
            "File::options",
            "OpenOptions",
            "read_to_end",
            "read_to_string",
            "Mmap::map",
        ],
        places: &[
            Place {
                path: "ground/src/",
                why: "here they are bounded, and written so that a kill leaves the old or the new",
            },
            Place { path: "model/src/checkpoint/mapped.rs", why: "maps weights that ground opened" },
            Place { path: "model/src/checkpoint/rows.rs", why: "rows of them, as long as the checked header says" },
        ],
        instead: "ground::read and ground::write bound what is read and keep what was there",
    },
    Border {
        words: &[
            "println!",
            "print!",
            "eprintln!",
            "eprint!",
            "dbg!",
            "stdout()",
            "stderr()",
            "io::stdout",
            "io::stderr",
        ],
        places: &[
            Place { path: "ground/src/terminal.rs", why: "here signs that steer a terminal become escapes" },
            Place { path: "trainer/src/tui/terminal.rs", why: "sets the modes of the dashboard's terminal" },
        ],
        instead: "ground::terminal shows what a terminal would obey",
    },
    Border {
        words: &["Command::new", "process::Command"],
        places: &[
            Place { path: "trainer/src/pull/pip.rs", why: "pip, isolated, for packages whose hashes a manifest names" },
            Place { path: "cuda/src/driver/emulator.rs", why: "the compiler that plays a GPU in tests" },
        ],
        instead: "name the room, and why it starts a program, in the list of this rule",
    },
    Border {
        words: &[
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "UnixStream",
            "UnixListener",
            "UnixDatagram",
            "ToSocketAddrs",
            "reqwest",
            "hf_hub",
            "ureq",
            "hyper",
            "socket2",
        ],
        places: &[
            Place { path: "trainer/src/hub.rs", why: "the model hub" },
            Place { path: "trainer/src/hub/", why: "the model hub" },
            Place { path: "eval/src/provider/", why: "hosted models" },
        ],
        instead: "name the room, and whom it asks, in the list of this rule",
    },
    Border {
        words: &[
            "rand",
            "rand_core",
            "rand_xoshiro",
            "rand_chacha",
            "rand_pcg",
            "fastrand",
            "getrandom",
            "RandomState",
            "SplitMix64",
        ],
        places: &[Place { path: "ground/src/random.rs", why: "randomness from seed, name and step" }],
        instead: "ground::random",
    },
    Border {
        words: &["Device::flex", "Device::cuda", "Device::vulkan", "Device::metal"],
        places: &[Place { path: "model/src/device.rs", why: "the choice of a device" }],
        instead: "only model/src/device.rs names a device backend",
    },
    Border {
        words: &["cudarc"],
        places: &[Place { path: "cuda/src/driver/", why: "the bindings of the GPU's driver and libraries" }],
        instead: "only cuda/src/driver/ calls the driver",
    },
    Border {
        words: &["burn", "cubecl"],
        places: &[
            Place { path: "model/", why: "the tensor engine" },
            Place { path: "cube/", why: "kernels for any GPU" },
            Place { path: "vendor/", why: "stands in for a crate of the framework" },
        ],
        instead: "only the model crate names tensors",
    },
];

/// How the constants of mixers begin, without `_`: whoever writes one writes a generator of random numbers.
const MIXERS: [&str; 10] = [
    "9e3779b9",
    "bf58476d",
    "94d049bb",
    "ff51afd7",
    "c4ceb9fe",
    "cbf29ce4",
    "2545f491",
    "85ebca6b",
    "c2b2ae35",
    "6364136223",
];
const MIXER_PLACES: [Place; 2] = [
    Place { path: "ground/src/random.rs", why: "randomness from seed, name and step" },
    Place { path: "cube/src/dropout.rs", why: "the same mixer on a GPU, held against that of ground" },
];
/// Members that check and measure the others: they start programs, print and read what is ours.
const TOOLS: &str = "xtask/";

/// Checks every Rust file that ends up in the program.
pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    let ours = files.iter().filter(|file| file.is_rust() && !file.path.starts_with(TOOLS) && !is_free(file, files));
    ours.flat_map(of_file).collect()
}

fn is_free(file: &TextFile, files: &[TextFile]) -> bool {
    file.path.contains("/examples/") || lists::is_test_file(file, files)
}

fn of_file(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in product_lines(&file.text) {
        for border in BORDERS.iter().filter(|border| !is_in(file, border.places)) {
            if let Some(word) = border.words.iter().find(|word| says(line, word)) {
                findings.push(file.finding(at, format!("`{word}`: {}\nhint: {}", border.instead, told(border.places))));
            }
        }
        let digits = line.replace('_', "").to_ascii_lowercase();
        if !is_in(file, &MIXER_PLACES) && MIXERS.iter().any(|mixer| digits.contains(mixer)) {
            let what = "a constant of a mixer: ground::random draws from seed, name and step";
            findings.push(file.finding(at, format!("{what}\nhint: {}", told(&MIXER_PLACES))));
        }
    }
    findings
}

/// Exceptions of which nothing is left: a rule says no more than what is true.
pub(super) fn stale(files: &[TextFile]) -> Vec<Finding> {
    let places = BORDERS.iter().flat_map(|border| border.places).chain(&MIXER_PLACES);
    let gone = places.filter(|place| !files.iter().any(|file| is_in(file, std::slice::from_ref(place))));
    let finding = |place: &Place| Finding {
        path: place.path.to_owned(),
        line: 0,
        what: format!("is an exception in xtask/src/tidy/borders.rs ({}), and is not there", place.why),
        warning: false,
    };
    gone.map(finding).collect()
}

/// The places of a rule, each with its reason.
fn told(places: &[Place]) -> String {
    let told: Vec<String> = places.iter().map(|place| format!("{} ({})", place.path, place.why)).collect();
    format!("it may stand in {}", told.join("; "))
}

fn is_in(file: &TextFile, places: &[Place]) -> bool {
    places.iter().any(|place| {
        if place.path.ends_with('/') { file.path.starts_with(place.path) } else { file.path == place.path }
    })
}

/// Whether a line says a word: by its path, or by its last part in a list that is imported from there.
fn says(line: &str, word: &str) -> bool {
    if word == "burn" || word == "cubecl" {
        return identifiers(line).any(|found| is_of(found, word));
    }
    if has_word(line, word) {
        return true;
    }
    let Some((module, name)) = word.rsplit_once("::") else { return false };
    let imported = line.split_once(&format!("{module}::{{")).filter(|_| line.trim_start().contains("use "));
    imported
        .is_some_and(|(_, list)| list.split(['{', '}', ',']).any(|part| part.split_whitespace().next() == Some(name)))
}

/// A crate, and those that are named after it.
fn is_of(found: &str, name: &str) -> bool {
    found.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

#[cfg(test)]
mod tests {
    use super::super::{file, lines};
    use super::*;

    fn found(path: &str, code: &str) -> Vec<String> {
        lines(&check(&[file(path, &format!("//! Owns.\n{code}\n"))]))
    }

    #[test]
    fn files_are_read_and_written_by_the_ground_only() {
        for planted in [
            "let text = std::fs::read_to_string(path)?;",
            "let bytes = fs::read(path)?;",
            "fs::write(path, text)?;",
            "let file = File::open(path)?;",
            "let file = std::fs::File::create(path)?;",
            "OpenOptions::new().append(true).open(path)?;",
            "reader.read_to_end(&mut bytes)?;",
            "use std::fs::{self, read_to_string};",
            "use std::fs::{read, Metadata};",
        ] {
            let findings = found("model/src/config.rs", planted);
            assert_eq!(findings.len(), 1, "{planted}: {findings:?}");
            assert!(findings[0].starts_with("model/src/config.rs:2: `") && findings[0].contains("ground::read"));
            assert!(found("ground/src/read.rs", planted).is_empty(), "{planted}");
        }
        for free in [
            "fs::read_dir(path)?;",
            "fs::read_link(path)?;",
            "use std::fs::{self, Metadata};",
            "ground::read::bytes(p)",
        ] {
            assert!(found("model/src/config.rs", free).is_empty(), "{free}");
        }
    }

    #[test]
    fn only_the_ground_prints() {
        for planted in [
            "println!(\"x\");",
            "eprint!(\"x\");",
            "dbg!(x);",
            "std::io::stdout().lock()",
            "use std::io::{stderr, Write};",
        ] {
            assert_eq!(found("eval/src/run.rs", planted).len(), 1, "{planted}");
            assert!(found("trainer/src/tui/terminal.rs", planted).is_empty(), "{planted}");
        }
        assert!(
            found("eval/src/run.rs", "writeln!(text, \"x\"); Plain::stderr(1); command.stdout(Stdio::null());")
                .is_empty()
        );
    }

    #[test]
    fn programs_are_started_in_named_rooms_only() {
        assert_eq!(found("trainer/src/commands/doctor.rs", "use std::process::{Command, Stdio};").len(), 1);
        assert_eq!(found("trainer/src/commands/doctor.rs", "Command::new(\"python\")").len(), 1);
        assert!(found("trainer/src/pull/pip.rs", "std::process::Command::new(\"python\")").is_empty());
        assert!(found("trainer/src/cli.rs", "Command::Fit(arguments) => {}").is_empty());
        assert!(found("xtask/src/ci.rs", "Command::new(\"cargo\")").is_empty());
    }

    #[test]
    fn sockets_are_opened_in_named_rooms_only() {
        for planted in
            ["use std::net::TcpStream;", "let x = hf_hub::f();", "use std::net::ToSocketAddrs as _;", "ureq::get(url)"]
        {
            let findings = found("trainer/src/commands/fit.rs", planted);
            assert!(findings.len() == 1 && findings[0].starts_with("trainer/src/commands/fit.rs:2: `"), "{findings:?}");
            for place in ["trainer/src/hub.rs", "trainer/src/hub/wire.rs", "eval/src/provider/openai.rs"] {
                assert!(found(place, planted).is_empty(), "{place}");
            }
        }
        assert_eq!(found("trainer/src/hubris.rs", "use std::net::TcpStream;").len(), 1);
    }

    #[test]
    fn randomness_comes_from_the_ground_only() {
        for planted in
            ["use rand::Rng;", "let z = z.wrapping_mul(0xBF58_476D_1CE4_E5B9);", "let s = 0x9e3779b97f4a7c15_u64;"]
        {
            assert_eq!(found("datasets/src/minhash.rs", planted).len(), 1, "{planted}");
            assert!(found("ground/src/random.rs", planted).is_empty(), "{planted}");
        }
        assert!(found("datasets/src/minhash.rs", "let operand = strand + 0xbf58;").is_empty());
    }

    #[test]
    fn tests_examples_and_comments_may_say_anything_and_code_behind_tests_may_not() {
        let planted = "fn f() { fs::read(p); }";
        assert!(found("model/src/a.rs", "// fs::read(p)").is_empty());
        assert!(found("model/examples/a.rs", planted).is_empty() && found("tests/cli.rs", planted).is_empty());
        let tests = format!("#[cfg(test)]\n#[allow(clippy::panic)]\nmod tests {{\n    {planted}\n}}");
        assert!(found("model/src/a.rs", &tests).is_empty());
        assert!(
            found("model/src/a.rs", &format!("#[cfg(test)]\nuse std::fs::read;\n#[cfg(test)]\n{planted}")).is_empty()
        );
        let behind = found("model/src/a.rs", &format!("{tests}\n{planted}"));
        assert!(behind.len() == 1 && behind[0].starts_with("model/src/a.rs:7: "), "{behind:?}");
        let parent = file("trainer/src/pull/mod.rs", "//! Owns.\n#[cfg(test)]\n#[allow(x)]\nmod tests;\n");
        let child = file("trainer/src/pull/tests.rs", "//! Owns.\nuse std::net::TcpListener;\n");
        assert!(check(&[parent, child]).is_empty());
    }

    #[test]
    fn device_backends_the_driver_and_tensors_have_one_place_each() {
        let text = "let device = Device::cuda(0);";
        assert!(found("model/src/lora.rs", text)[0].contains("only model/src/device.rs names a device backend"));
        assert!(found("model/src/device.rs", text).is_empty());
        assert!(found("model/src/lora.rs", "let x = Device::cuda_like();").is_empty());
        let text = "use cudarc::driver::sys;";
        assert!(found("cuda/src/device.rs", text)[0].contains("only cuda/src/driver/ calls the driver"));
        assert!(found("cuda/src/driver/nvidia/mod.rs", text).is_empty());
        for planted in ["use burn::tensor::Tensor;", "burn_flex::f();", "cubecl::g();"] {
            assert_eq!(found("trainer/src/fit.rs", planted).len(), 1, "{planted}");
            assert!(found("model/src/fit.rs", planted).is_empty());
        }
        assert!(found("trainer/src/fit.rs", "let burned = 1;").is_empty());
    }

    #[test]
    fn an_exception_whose_file_is_gone_is_found() {
        let places = BORDERS.iter().flat_map(|border| border.places).chain(&MIXER_PLACES);
        let of = |place: &Place| {
            file(&if place.path.ends_with('/') { format!("{}a.rs", place.path) } else { place.path.to_owned() }, "")
        };
        let all: Vec<TextFile> = places.map(of).collect();
        assert!(stale(&all).is_empty());
        let fewer: Vec<TextFile> = all.into_iter().filter(|file| file.path != "trainer/src/hub.rs").collect();
        assert!(lines(&stale(&fewer))[0].starts_with("trainer/src/hub.rs: is an exception"));
    }
}
