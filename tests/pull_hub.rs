//! `pull` from a hub that is not to be trusted: what it asks and whom, where the token goes, and that everything ends.
//! Knows the command line and the hub's side of the wire.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::odd_hub::{Asked, Body, COMMIT, OddHub, Places, REPO, Reply, TOKEN, page};
use crate::util::{Done, command, files, tiny_chat};

/// The files of the tiny model.
fn model() -> Vec<(String, Vec<u8>)> {
    let folder = tiny_chat();
    files(&folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

/// Pulls, with a token and an empty cache; gives what the program said and how long it took.
fn pull(hub: &OddHub) -> (Done, Duration) {
    let cache = TempDir::new().unwrap();
    let mut command = command(cache.path());
    command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &hub.places.hub).env("HF_TOKEN", TOKEN);
    let start = Instant::now();
    let done = Done::of(command.args(["pull", REPO]).output().unwrap());
    assert!(!done.stderr.contains(TOKEN) && !done.stdout.contains(TOKEN), "{}", done.stderr);
    (done, start.elapsed())
}

fn is_info(asked: &Asked) -> bool {
    asked.path == format!("/api/models/{REPO}")
}

fn is_list(asked: &Asked) -> bool {
    asked.path.starts_with(&format!("/api/models/{REPO}/tree/"))
}

fn is_weights(asked: &Asked) -> bool {
    asked.path.ends_with("/model.safetensors")
}

#[test]
fn a_pull_asks_for_what_it_needs_and_for_nothing_else() {
    // Small files come from the hub itself, weights from a store to which it sends, as the real one does.
    let odd = |asked: &Asked, places: &Places| {
        (asked.place == "hub" && is_weights(asked))
            .then(|| Reply::to(format!("{}/blob/model.safetensors?sign=s", places.store)))
    };
    let beside = ["added_tokens.json", "chat_template.json", "special_tokens_map.json"];
    let mut model = model();
    model.extend(beside.map(|name| (name.to_owned(), b"{}".to_vec())));
    model.sort();
    let hub = OddHub::start(model.clone(), odd);
    pull(&hub).0.good();
    let mut expected = vec![format!("hub GET /api/models/{REPO}"), format!("hub GET /api/models/{REPO}/tree/{COMMIT}")];
    let needed = [
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    for (name, _) in model.iter().filter(|(name, _)| needed.contains(&name.as_str())) {
        expected.push(format!("hub GET /{REPO}/resolve/{COMMIT}/{name}"));
        if name == "model.safetensors" {
            expected.push("store GET /blob/model.safetensors?sign=s".to_owned());
        }
    }
    assert_eq!(hub.lines(), expected);
    for asked in hub.asked() {
        assert_eq!(asked.token, asked.place == "hub", "{asked:?}");
        assert!(asked.odd_headers.is_empty(), "{asked:?}");
    }
}

#[test]
fn the_token_stays_with_the_hub_wherever_it_points() {
    type Case = (&'static str, fn(&Asked, &Places) -> Option<Reply>, Option<&'static str>);
    let cases: [Case; 7] = [
        (
            "a redirect",
            |asked, places| is_info(asked).then(|| Reply::to(places.store.clone() + &asked.path)),
            Some("another host"),
        ),
        (
            "a next page",
            |asked, places| {
                let next = format!("<{}{}?page=2>; rel=\"next\"", places.store, asked.path);
                is_list(asked).then(|| Reply::json(&page(&model())).with("link", next))
            },
            Some("another host"),
        ),
        (
            "a redirect of a list",
            |asked, places| is_list(asked).then(|| Reply::to(places.store.clone() + &asked.path)),
            Some("another host"),
        ),
        (
            "a redirect of a redirect",
            |asked, places| match (asked.place, is_weights(asked)) {
                ("hub", true) => Some(Reply::to(format!("{}/again/model.safetensors", places.store))),
                ("store", true) if asked.path.starts_with("/again") => {
                    Some(Reply::to("/blob/model.safetensors".to_owned()))
                }
                _ => None,
            },
            None,
        ),
        (
            "a redirect there and back",
            |asked, places| match (asked.place, is_weights(asked)) {
                ("hub", true) if !asked.path.starts_with("/blob") => {
                    Some(Reply::to(format!("{}/back/model.safetensors", places.store)))
                }
                ("store", true) => Some(Reply::to(format!("{}/blob/model.safetensors", places.hub))),
                // Whoever was sent here from elsewhere does not come with the token.
                ("hub", true) if asked.token => Some(Reply { status: 500, headers: vec![], body: Body::Whole(vec![]) }),
                _ => None,
            },
            None,
        ),
        (
            "redirects without end",
            |asked, places| is_weights(asked).then(|| Reply::to(format!("{}/x/model.safetensors", places.store))),
            Some("more than 5 times"),
        ),
        (
            "an address with a password",
            |asked, places| {
                let away = places.store.replace("http://", "http://hub.example@");
                is_weights(asked).then(|| Reply::to(format!("{away}/blob/model.safetensors")))
            },
            Some("cannot be used"),
        ),
    ];
    for (what, odd, refused) in cases {
        let hub = OddHub::start(model(), odd);
        let (done, _) = pull(&hub);
        match refused {
            Some(words) => assert!(done.code == Some(2) && done.stderr.contains(words), "{what}: {}", done.stderr),
            None => drop(done.good()),
        }
        let away: Vec<Asked> = hub.asked().into_iter().filter(|asked| asked.place == "store").collect();
        assert!(away.iter().all(|asked| !asked.token), "{what}: {away:?}");
        assert!(hub.asked().len() < 40, "{what}: {} requests", hub.asked().len());
    }
}

#[test]
fn a_redirect_within_the_hub_is_followed_with_the_token() {
    let odd = |asked: &Asked, _: &Places| match asked.path.as_str() {
        "/api/models/owner/tiny" => Some(Reply::to("/api/models/owner/new".to_owned())),
        "/api/models/owner/new" => Some(Reply::json(&json!({"id": "owner/new", "sha": COMMIT}))),
        _ => None,
    };
    let hub = OddHub::start(model(), odd);
    pull(&hub).0.good();
    assert!(hub.asked().iter().all(|asked| asked.token));
}

#[test]
fn what_the_hub_says_about_sizes_and_ends_is_not_believed() {
    type Case = (&'static str, fn(&Asked, usize) -> Option<Reply>, &'static str);
    fn listed(size: u64) -> serde_json::Value {
        let mut page = page(&model());
        page.as_array_mut().unwrap().iter_mut().filter(|one| one["path"] == "model.safetensors").for_each(|one| {
            one["size"] = json!(size);
        });
        page
    }
    let cases: [Case; 9] = [
        (
            "a length of 2^62",
            |asked, _| {
                let body = Body::Announced(1 << 62, vec![b'x'; 1000]);
                is_weights(asked).then_some(Reply { status: 206, headers: vec![], body })
            },
            "announced 4611686018427387904",
        ),
        (
            "a size of 2^62 in the list",
            |asked, _| is_list(asked).then(|| Reply::json(&listed(1 << 62))),
            "by the hub's list",
        ),
        (
            "a size of 2^64-1 in the list",
            |asked, _| is_list(asked).then(|| Reply::json(&listed(u64::MAX))),
            "by the hub's list",
        ),
        (
            "a body without end",
            |asked, _| {
                let body = Body::Endless(Vec::new());
                is_weights(asked).then_some(Reply { status: 206, headers: vec![], body })
            },
            "wrong hash",
        ),
        (
            "a list without end",
            |asked, _| {
                let body = Body::Endless(b"[".to_vec());
                is_list(asked).then_some(Reply { status: 200, headers: vec![], body })
            },
            "16.0 MiB",
        ),
        (
            "a refusal without end",
            |asked, _| {
                let body = Body::Endless(b"{".to_vec());
                is_info(asked).then_some(Reply { status: 418, headers: vec![], body })
            },
            "the hub answered 418",
        ),
        (
            "a list in a circle",
            |asked, _| {
                let next = format!("<{}>; rel=\"next\"", asked.path);
                is_list(asked).then(|| Reply::json(&page(&model())).with("link", next))
            },
            "in a circle",
        ),
        (
            "pages without end",
            |asked, count| {
                let path = asked.path.split('?').next().unwrap();
                let next = format!("<{path}?cursor={count}>; rel=\"next\"");
                is_list(asked).then(|| Reply::json(&page(&model())).with("link", next))
            },
            "more than 200 pages",
        ),
        (
            "a path out of the folder as a commit",
            |asked, _| is_info(asked).then(|| Reply::json(&json!({"sha": "../../../x"}))),
            "a commit that is none",
        ),
    ];
    for (what, odd, words) in cases {
        let count = AtomicUsize::new(0);
        let hub = OddHub::start(model(), move |asked, _| odd(asked, count.fetch_add(1, Ordering::SeqCst)));
        let (done, took) = pull(&hub);
        assert!(done.code == Some(2) && done.stderr.contains(words), "{what}: {}", done.stderr);
        assert!(took < Duration::from_secs(15), "{what}: {took:?}");
        assert!(hub.asked().len() < 260, "{what}: {} requests", hub.asked().len());
    }
}

#[test]
fn a_server_that_knows_no_ranges_and_a_broken_connection_still_give_the_file() {
    // The whole file at once, and once half of it.
    let odd = |asked: &Asked, _: &Places| {
        let bytes = model().into_iter().find(|(name, _)| name == "model.safetensors").unwrap().1;
        is_weights(asked).then(|| Reply { status: 200, headers: vec![], body: Body::Whole(bytes) })
    };
    pull(&OddHub::start(model(), odd)).0.good();
}

#[test]
fn what_is_in_the_cache_is_taken_without_asking_anybody() {
    let hub = OddHub::start(model(), |_, _| None);
    let cache = TempDir::new().unwrap();
    let pull = || {
        let mut command = command(cache.path());
        command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &hub.places.hub).env("HF_TOKEN", TOKEN);
        Done::of(command.args(["pull", REPO]).output().unwrap())
    };
    pull().good();
    let before = hub.asked().len();
    pull().good();
    assert_eq!(hub.asked().len(), before);
}
