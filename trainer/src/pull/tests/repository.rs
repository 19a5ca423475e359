//! A published adapter from a hub of our own, and the base it names: by a name of ours, and from the hub.

use std::sync::Mutex;

use super::super::{base_here, base_in, repository_in};
use super::hub::{FakeHub, small_repository};
use super::{HUB_SOURCE, Place, hub_settings};
use crate::pull::{Cache, Surroundings};

fn adapter(config: &str) -> FakeHub {
    FakeHub {
        files: vec![
            (".gitattributes", b"not wanted".to_vec()),
            ("README.md", b"---\nlibrary_name: peft\n---\n".to_vec()),
            ("adapter_config.json", config.as_bytes().to_vec()),
            ("adapter_model.safetensors", b"weights".to_vec()),
            ("tokenizer.json", b"{}".to_vec()),
        ],
        refusal: None,
        patience: Mutex::new(usize::MAX),
        ranges: Mutex::new(Vec::new()),
    }
}

fn surroundings(place: &Place) -> Surroundings {
    Surroundings { hub: place.hub.clone(), search_path: std::ffi::OsString::new() }
}

#[test]
fn an_adapter_is_read_back_once_and_then_comes_from_the_cache() {
    let (hub, address) = adapter("{\"base_model_name_or_path\": \"owner/base\", \"revision\": \"abc\"}").start();
    let mut place = Place::new();
    place.hub = hub_settings(&address);
    let cache = Cache::at(place.path("cache"));
    let pull = || repository_in(&surroundings(&place), "owner/tiny", None, &cache, &mut |_| {}, &mut |_| {}).unwrap();
    let first = pull();
    let mut names: Vec<String> = std::fs::read_dir(&first.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "ATTRIBUTION.txt",
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "pulled.json",
        "tokenizer.json",
    ];
    assert_eq!(names, expected);
    let named = model::adapter::base_of(&first.path).unwrap();
    assert_eq!((named.name.as_deref(), named.revision.as_deref()), (Some("owner/base"), Some("abc")));
    assert!(!first.from_cache);
    let asked = hub.ranges.lock().unwrap().len();
    assert!(pull().from_cache);
    assert_eq!(hub.ranges.lock().unwrap().len(), asked);
}

#[test]
fn a_pickle_is_refused_with_the_reason() {
    let mut hub = adapter("{}");
    hub.files.retain(|(name, _)| *name != "adapter_model.safetensors");
    hub.files.push(("adapter_model.bin", b"pickle".to_vec()));
    let (_, address) = hub.start();
    let mut place = Place::new();
    place.hub = hub_settings(&address);
    let cache = Cache::at(place.path("cache"));
    let pulled = repository_in(&surroundings(&place), "owner/tiny", None, &cache, &mut |_| {}, &mut |_| {});
    let error = format!("{:#}", pulled.unwrap_err());
    assert!(error.contains("adapter_model.safetensors") && error.contains("pickle"), "{error}");
}

#[test]
fn a_base_is_found_by_our_name_by_its_repository_and_by_its_title() {
    let (_, address) = small_repository(b"{}").start();
    let mut place = Place::new();
    place.hub = hub_settings(&address);
    place.config(HUB_SOURCE);
    let (configs, cache) = (place.path("configs"), Cache::at(place.path("cache")));
    let find = |name: &str| base_in(&surroundings(&place), name, None, &configs, &cache, &mut |_| {}, &mut |_| {});
    assert!(base_here("tiny", None, &configs, &cache).is_none());
    let first = find("tiny").unwrap();
    for name in ["owner/tiny", "Owner/Tiny", "tiny"] {
        let found = find(name).unwrap();
        assert_eq!((&found.path, found.from_cache), (&first.path, true), "{name}");
        assert_eq!(base_here(name, None, &configs, &cache).unwrap().path, first.path);
    }
    let error = find("no such base").unwrap_err().to_string();
    assert!(error.contains("no such base is neither under"), "{error}");
    // A folder of the name, in the folder of this test: `src` is no base because somebody else's was called so.
    assert!(std::path::Path::new("src").is_dir() && base_here("src", None, &configs, &cache).is_none());
    let error = find("src").unwrap_err().to_string();
    assert!(error.contains("src is neither under"), "{error}");
    let known = |name: &str| crate::pull::is_fetched_by_name(name, &configs);
    assert!(known("tiny") && known("owner/tiny") && known("somebody/else") && !known("src") && !known("/a/b"));
}
