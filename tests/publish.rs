//! `publish` against a hub on loopback: what is written and listed, what is sent, and what becomes of everything that
//! goes wrong on the way. Knows the command line and the hub's side of the wire.

use std::fs;
use std::time::Instant;

use tempfile::TempDir;

use crate::finished_run::{Copy, REPO, finished};
use crate::hub_hashes::sha256;
use crate::hub_server::{Call, HubServer, READ, SCOPED, Transfer, Trouble, WRITE};
use crate::util::{Done, files};

/// A plan in which calls like this meet a trouble, the first `times` of them.
fn trouble(
    method: &str,
    part: &str,
    times: usize,
    trouble: Trouble,
) -> impl Fn(&Call, usize) -> Option<Trouble> + Send + Sync + 'static {
    let (method, part) = (method.to_owned(), part.to_owned());
    move |call, before| (call.method == method && call.path.contains(&part) && before < times).then(|| trouble.clone())
}

fn sent_bytes(hub: &HubServer) -> usize {
    let carries = |call: &&Call| call.method != "GET" && !call.path.contains("/api/repos/create");
    hub.calls().iter().filter(carries).map(|call| call.body.len()).sum()
}

/// Asserts that the hub holds exactly what lies in the folder of the publication.
#[track_caller]
fn equal(hub: &HubServer, run: &Copy, branch: &str) {
    let commits = hub.commits(REPO, branch);
    let there = &commits.last().unwrap().files;
    let here = files(&run.path("publish"));
    assert!(here.len() >= 8, "{here:?}");
    for path in &here {
        let bytes = fs::read(run.path("publish").join(path)).unwrap();
        assert_eq!(there[path].bytes, bytes, "{path}");
        assert_eq!(there[path].large, path.ends_with(".safetensors"), "{path}");
    }
    let more: Vec<&String> = there.keys().filter(|path| !here.contains(path) && *path != ".gitattributes").collect();
    assert!(more.is_empty(), "{more:?}");
}

#[test]
fn a_dry_run_writes_the_folder_and_lists_sizes_and_hashes() {
    let run = Copy::new();
    let done = run.dry(&[]).good();
    let listed: Vec<Vec<&str>> = done.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let paths: Vec<&str> = listed.iter().map(|words| words[2]).collect();
    assert_eq!(paths, files(&run.path("publish")));
    for words in &listed {
        let bytes = fs::read(run.path("publish").join(words[2])).unwrap();
        assert_eq!((words[0], words[1]), (bytes.len().to_string().as_str(), sha256(&bytes).as_str()), "{}", words[2]);
    }
    for expected in [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
        "trainer/proof.json",
        "trainer/report.html",
        "trainer/results.json",
        "trainer/summary.json",
    ] {
        assert!(paths.contains(&expected), "{expected} is not in {paths:?}");
    }
    assert!(done.stderr.contains("nothing was sent"), "{}", done.stderr);
    let json = run.dry(&["--json"]).good().json();
    assert_eq!(json["files"].as_array().unwrap().len(), paths.len());
    // The same run gives the same bytes, so that a second publication has nothing to send.
    assert_eq!(json["files"][0]["sha256"], listed[0][1]);
    let weights = fs::read(run.path("adapter/adapter_model.safetensors")).unwrap();
    assert_eq!(fs::read(run.path("publish/adapter_model.safetensors")).unwrap(), weights);
    assert_eq!(run.json("publish/adapter_config.json")["base_model_name_or_path"], "tiny/chat");
}

#[test]
fn what_is_published_is_one_commit_and_the_second_time_nothing_is_sent() {
    let (hub, run) = (HubServer::start(), Copy::new());
    let done = run.publish(&hub, WRITE, &["--json"]).good().json();
    equal(&hub, &run, "main");
    let commits = hub.commits(REPO, "main");
    assert_eq!(commits.len(), 2, "the hub's own and ours");
    assert_eq!((&done["commit"], &done["created"]), (&commits[1].id.clone().into(), &true.into()));
    assert!(hub.is_private(REPO), "a new repository is private unless --public is given");
    assert_eq!(done["sent"], serde_json::json!(["adapter_model.safetensors"]));
    let before = sent_bytes(&hub);
    let again = run.publish(&hub, WRITE, &[]).good();
    assert!(again.stderr.contains("everything is there already"), "{}", again.stderr);
    assert_eq!((sent_bytes(&hub), hub.commits(REPO, "main").len()), (before, 2));
}

#[test]
fn what_was_sent_before_a_break_is_not_sent_again() {
    // Everything above 300 bytes is large here, so that several files go to the store.
    let broken = |call: &Call, _: usize| {
        (call.method == "PUT" && call.headers["content-length"].parse::<usize>().unwrap() > 20_000)
            .then_some(Trouble::CutAfter(1000))
    };
    let fuse = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let burns = std::sync::Arc::clone(&fuse);
    let plan = move |call: &Call, before: usize| {
        burns.load(std::sync::atomic::Ordering::SeqCst).then(|| broken(call, before)).flatten()
    };
    let hub = HubServer::with(plan, Transfer::Basic, 300, 412);
    let run = Copy::new();
    let done = run.publish(&hub, WRITE, &[]);
    done.refused(&[
        "the connection to the hub broke",
        "what was sent so far stays there",
        "run the same command again",
    ]);
    assert_eq!(hub.commits(REPO, "main").len(), 1, "a publication that broke leaves no commit");
    let sent = |calls: &[Call]| {
        calls.iter().filter(|call| call.method == "PUT").map(|call| call.path.clone()).collect::<Vec<_>>()
    };
    let whole: Vec<String> = hub
        .calls()
        .iter()
        .filter(|call| {
            call.method == "PUT" && call.body.len() == call.headers["content-length"].parse::<usize>().unwrap()
        })
        .map(|call| call.path.clone())
        .collect();
    assert!(!whole.is_empty(), "nothing came through before the break");
    let before = hub.calls().len();
    fuse.store(false, std::sync::atomic::Ordering::SeqCst);
    run.publish(&hub, WRITE, &[]).good();
    let after = sent(&hub.calls()[before..]);
    assert!(!after.is_empty() && after.iter().all(|path| !whole.contains(path)), "{whole:?} was sent again: {after:?}");
    assert_eq!(hub.commits(REPO, "main").len(), 2);
}

#[test]
fn a_cut_connection_a_busy_hub_and_its_faults_are_waited_for() {
    let plans: [(&str, &str, usize, Trouble); 5] = [
        ("PUT", "/store/", 1, Trouble::CutAfter(500)),
        ("POST", "/preupload/", 1, Trouble::Fails(503, &[])),
        ("POST", "/info/lfs/", 2, Trouble::Fails(500, &[])),
        ("POST", "/commit/", 1, Trouble::Fails(502, &[])),
        ("GET", "/tree/", 1, Trouble::Fails(504, &[])),
    ];
    for (method, part, times, what) in plans {
        let (hub, run) = (HubServer::planned(trouble(method, part, times, what.clone())), Copy::new());
        run.publish(&hub, WRITE, &[]).good();
        equal(&hub, &run, "main");
        assert_eq!(hub.commits(REPO, "main").len(), 2, "{what:?}");
    }
}

#[test]
fn the_hub_says_how_long_to_wait() {
    for (part, header) in [("/commit/", ("retry-after", "2")), ("/whoami-v2", ("ratelimit", "\"api\";r=0;t=2"))] {
        let headers: &'static [(&str, &str)] = Box::leak(Box::new([header]));
        let plan = move |call: &Call, before: usize| {
            (call.path.contains(part) && before == 0).then_some(Trouble::Fails(429, headers))
        };
        let (hub, run) = (HubServer::planned(plan), Copy::new());
        let start = Instant::now();
        let done = run.publish(&hub, WRITE, &[]).good();
        assert!(start.elapsed().as_secs_f64() >= 2.0, "{part}");
        assert!(
            done.stderr.contains("the hub limits the rate of requests") && done.stderr.contains("trying again in 2 s"),
            "{}",
            done.stderr
        );
        equal(&hub, &run, "main");
    }
}

#[test]
fn a_hub_that_stays_down_is_given_up_with_a_hint() {
    let (hub, run) = (HubServer::planned(trouble("POST", "/commit/", 99, Trouble::Fails(503, &[]))), Copy::new());
    run.publish(&hub, WRITE, &[]).refused(&["the hub answered 503", "5 times in a row", "run the same command again"]);
    assert_eq!(hub.commits(REPO, "main").len(), 1);
    // A wait of an hour is told and not waited for.
    let headers: &'static [(&str, &str)] = &[("retry-after", "3600")];
    let hub = HubServer::planned(trouble("POST", "/preupload/", 99, Trouble::Fails(429, headers)));
    run.publish(&hub, WRITE, &[]).refused(&["limits the rate", "in 3600 s"]);
}

#[test]
fn a_token_that_may_not_write_is_told_before_any_byte_is_sent() {
    let cases: [(&str, &str, &[&str]); 4] = [
        ("hf_nobody", REPO, &["the hub does not know this token", "HF_TOKEN"]),
        (READ, REPO, &["the token of roe may only read", "write access"]),
        (WRITE, "court/legal", &["roe does not belong to court", "roe, firm"]),
        (SCOPED, REPO, &["may not write to the repositories of roe"]),
    ];
    let run = Copy::new();
    for (token, repo, told) in cases {
        let hub = HubServer::start();
        run.publish_to(&hub, token, repo, &[]).refused(told);
        let calls: Vec<String> = hub.calls().iter().map(|call| format!("{} {}", call.method, call.path)).collect();
        assert_eq!(calls, ["GET /api/whoami-v2"], "{told:?}");
        assert!(!hub.has(repo));
    }
    let hub = HubServer::start();
    let mut command = run.command(&[]);
    command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &hub.url);
    Done::of(command.output().unwrap()).refused(&["publishing needs a token", "hf auth login"]);
    assert!(hub.calls().is_empty());
    // The login file of the hub's own tools is as good as the variable.
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("token"), format!("{WRITE}\n")).unwrap();
    command.env("HF_HOME", home.path());
    Done::of(command.output().unwrap()).good();
    // A token for one repository may write to it.
    run.publish_to(&hub, SCOPED, "firm/one", &[]).good();
}

#[test]
fn a_commit_of_somebody_else_meanwhile_is_told_and_nothing_is_written() {
    for moved in [409, 412] {
        let plan = trouble("POST", "/commit/", 1, Trouble::SomebodyCommits);
        let (hub, run) = (HubServer::with(plan, Transfer::Basic, 10 << 20, moved), Copy::new());
        run.publish(&hub, WRITE, &[]).refused(&[
            "roe/legal changed while this was published",
            "nothing was written",
            "--parent",
        ]);
        let commits = hub.commits(REPO, "main");
        assert_eq!(commits.last().unwrap().message, "by somebody else", "{moved}");
        assert!(!commits.last().unwrap().files.contains_key("README.md"));
        // Their file is not ours, so the next attempt goes on top of it.
        run.publish(&hub, WRITE, &[]).good();
        let last = hub.commits(REPO, "main").pop().unwrap();
        assert!(last.files.contains_key("NOTES.md") && last.files.contains_key("README.md"));
    }
}

#[test]
fn files_that_nobody_saw_are_not_replaced() {
    let (hub, run) = (HubServer::start(), Copy::new());
    let head = hub.make(REPO, false, &[("README.md", "a card that somebody wrote"), ("notes.txt", "x")]);
    let done = run.publish(&hub, WRITE, &[]);
    done.refused(&["roe/legal holds other files of these names", "README.md", &format!("--parent {head}")]);
    assert_eq!(hub.commits(REPO, "main").len(), 2);
    // A person who looked at another commit did not see this one.
    let other = "0123456789012345678901234567890123456789";
    run.publish(&hub, WRITE, &["--parent", other]).refused(&["it changed since you looked", other, &head]);
    let looked = run.publish(&hub, WRITE, &["--parent", &head]).good();
    assert!(!looked.stderr.contains("making"), "{}", looked.stderr);
    let files = hub.commits(REPO, "main").pop().unwrap().files;
    assert_eq!(files["notes.txt"].bytes, b"x", "what is not ours stays");
    // What this run published itself is known to it: a new card goes on top without a word.
    run.edit("summary.json", "\"device\": \"", "\"device\": \"another ");
    run.publish(&hub, WRITE, &[]).good();
    assert_eq!(hub.commits(REPO, "main").len(), 4);
}

#[test]
fn a_lost_answer_to_a_commit_makes_no_second_commit() {
    let (hub, run) = (HubServer::planned(trouble("POST", "/commit/", 1, Trouble::LosesAnswer)), Copy::new());
    let done = run.publish(&hub, WRITE, &["--json"]).good().json();
    let commits = hub.commits(REPO, "main");
    assert_eq!((commits.len(), &done["commit"]), (2, &commits[1].id.clone().into()));
    assert_eq!(hub.calls_of("POST", "/api/models/roe/legal/commit/").len(), 1);
}

#[test]
fn large_files_go_in_pieces_where_the_hub_wants_that() {
    let plan = trouble("PUT", "/2", 1, Trouble::CutAfter(10));
    let (hub, run) = (HubServer::with(plan, Transfer::Multipart(7000), 10 << 20, 412), Copy::new());
    run.publish(&hub, WRITE, &[]).good();
    equal(&hub, &run, "main");
    let bytes = fs::metadata(run.path("adapter/adapter_model.safetensors")).unwrap().len() as usize;
    let pieces = hub.calls_of("PUT", "/store/");
    // The piece that broke is the only one that was sent twice.
    assert_eq!(pieces.len(), bytes.div_ceil(7000) + 1);
}

#[test]
fn a_hub_that_stores_by_xet_takes_large_files_by_the_ways_that_report_nothing() {
    let (hub, run) = (HubServer::with(|_, _| None, Transfer::Xet, 10 << 20, 412), Copy::new());
    run.publish(&hub, WRITE, &[]).good();
    equal(&hub, &run, "main");
    assert!(hub.calls().iter().all(|call| !call.path.contains("xet")), "{:?}", hub.calls());
}

#[test]
fn a_publication_asks_for_what_it_needs_and_for_nothing_else() {
    let (hub, run) = (HubServer::start(), Copy::new());
    run.publish(&hub, WRITE, &[]).good();
    let weights = fs::read(run.path("publish/adapter_model.safetensors")).unwrap();
    let commits = hub.commits(REPO, "main");
    let (before, made) = (commits[0].id.clone(), commits[1].id.clone());
    let asked: Vec<String> = hub.calls().iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    let expected = [
        "GET /api/whoami-v2".to_owned(),
        "GET /api/models/roe/legal/revision/main".to_owned(),
        "POST /api/repos/create".to_owned(),
        "GET /api/models/roe/legal/revision/main".to_owned(),
        format!("GET /api/models/roe/legal/tree/{before}?recursive=true"),
        "POST /api/models/roe/legal/preupload/main".to_owned(),
        "POST /roe/legal.git/info/lfs/objects/batch".to_owned(),
        format!("PUT /store/{}", sha256(&weights)),
        "POST /verify".to_owned(),
        "POST /api/models/roe/legal/commit/main".to_owned(),
        format!("GET /api/models/roe/legal/tree/{made}?recursive=true"),
    ];
    assert_eq!(asked, expected);
    // The store is another host, and what it is told beside the bytes is what every client says.
    let put = hub.calls_of("PUT", "/store/").remove(0);
    let names: Vec<&str> = put.headers.keys().map(String::as_str).collect();
    assert_eq!(names, ["accept", "accept-encoding", "content-length", "host", "user-agent"]);
}

#[test]
fn branches_are_made_and_a_public_repository_is_no_private_one() {
    let (hub, run) = (HubServer::start(), Copy::new());
    run.publish(&hub, WRITE, &["--revision", "trial/one", "--public"]).good();
    equal(&hub, &run, "trial/one");
    assert_eq!(hub.commits(REPO, "main").len(), 1);
    assert!(!hub.is_private(REPO));
    let before = hub.calls().len();
    run.publish(&hub, WRITE, &["--private"]).refused(&["roe/legal is there and public", "--private"]);
    assert!(hub.calls()[before..].iter().all(|call| call.method == "GET"));
}

#[test]
fn a_hub_that_is_switched_off_or_not_there_is_told() {
    let run = Copy::new();
    let mut command = run.command(&[]);
    command.env("HF_TOKEN", WRITE);
    Done::of(command.output().unwrap()).refused(&["HF_HUB_OFFLINE", "--dry-run"]);
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", format!("http://{free}"));
    Done::of(command.output().unwrap()).refused(&["the hub", "times in a row"]);
    command.env("HF_ENDPOINT", "no address");
    Done::of(command.output().unwrap())
        .refused(&["the address of the hub cannot be used", "hint: look at HF_ENDPOINT"]);
    let mut odd = finished().command();
    odd.arg("publish").arg(run.path("")).args(["--repo", "legal"]);
    Done::of(odd.output().unwrap()).refused(&["--repo legal is no name of a repository", "OWNER/NAME"]);
}

/// Publishes and goes on serving, for a look with other clients: `HUB_FILE=FILE cargo test … hub_by_hand -- --ignored`.
#[test]
#[ignore = "for checks by hand: serves until it is killed"]
fn hub_by_hand() {
    let (hub, run) = (HubServer::start(), Copy::new());
    run.publish(&hub, WRITE, &["--public"]).good();
    let told = format!("{}\n{}\n", hub.url, run.path("publish").display());
    fs::write(std::env::var("HUB_FILE").unwrap(), told).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(600));
}
