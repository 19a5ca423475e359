//! What a run folder promises: the last good state whatever a kill leaves, one writer, nothing believed and no link followed
//! that somebody else put there.

use super::*;

fn identity(data: &str) -> Identity {
    let text = |text: &str| text.to_owned();
    Identity { config: text("c"), data: text(data), base: text("b"), speech: text("s"), total_steps: 9 }
}

fn state(step: u64) -> SessionState {
    SessionState { step, parameters: vec![0.1, step as f32], first: vec![1.0, 2.0], second: vec![3.0, 4.0] }
}

#[test]
fn the_last_good_checkpoint_is_taken_and_a_broken_one_is_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(&root.path().join("run"), identity("d")).unwrap();
    for step in 1..=3 {
        run.save_checkpoint(&state(step), 2).unwrap();
    }
    assert_eq!(run.steps().unwrap(), [2, 3]);
    fs::write(run.checkpoint(3).join(STATE_FILE), b"cut").unwrap();
    drop(run);
    let (_, found, warnings) = RunDir::open(&root.path().join("run"), identity("d"), 2).unwrap();
    assert_eq!((found, warnings.len()), (Some(state(2)), 1));
}

#[test]
fn changed_rows_are_refused_and_a_taken_folder_is_not_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(&root.path().join("run"), identity("d")).unwrap();
    run.save_checkpoint(&state(1), 2).unwrap();
    drop(run);
    let path = root.path().join("run");
    let error = RunDir::open(&path, identity("other"), 2).unwrap_err().to_string();
    assert!(error.contains("the rows") && error.contains("hint:"), "{error}");
    assert!(RunDir::create(&path, identity("d")).is_err());
}

#[test]
fn a_folder_in_which_nothing_began_is_taken_again() {
    let root = tempfile::tempdir().unwrap();
    drop(RunDir::create(root.path(), identity("d")).unwrap());
    let run = RunDir::create(root.path(), identity("other")).unwrap();
    run.write("config.toml", b"").unwrap();
    drop(run);
    assert!(RunDir::create(root.path(), identity("d")).is_err());
}

#[test]
fn a_save_that_fails_keeps_earlier_checkpoints() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(&root.path().join("run"), identity("d")).unwrap();
    run.save_checkpoint(&state(1), 1).unwrap();
    // A file in the place of the next checkpoint stands in for a disk that is full.
    fs::write(run.checkpoint(2), b"").unwrap();
    let error = format!("{:#}", run.save_checkpoint(&state(2), 1).unwrap_err());
    assert!(error.contains("earlier checkpoints are intact"), "{error}");
    drop(run);
    fs::create_dir_all(root.path().join("run/checkpoints/step-000003.x1.partial")).unwrap();
    fs::create_dir_all(root.path().join("run/adapter.replaced")).unwrap();
    let (run, found, _) = RunDir::open(&root.path().join("run"), identity("d"), 2).unwrap();
    assert_eq!(found, Some(state(1)));
    // What the kill left is cleared, and what it had only half replaced is put back.
    assert!(!run.join("checkpoints/step-000003.x1.partial").exists() && run.join("adapter").exists());
}

#[test]
fn two_processes_never_write_into_one_folder() {
    let root = tempfile::tempdir().unwrap();
    let held = RunDir::create(root.path(), identity("d")).unwrap();
    let error = RunDir::open(root.path(), identity("d"), 2).unwrap_err().to_string();
    assert!(error.starts_with("another process is at work in"), "{error}");
    assert!(hold(root.path(), "wait").unwrap_err().to_string().contains("hint: wait"));
    drop(held);
    let evaluates = hold(root.path(), "wait").unwrap();
    assert!(RunDir::open(root.path(), identity("d"), 2).is_err());
    drop(evaluates);
    assert!(RunDir::open(root.path(), identity("d"), 2).is_ok());
}

#[test]
fn another_version_is_refused_and_not_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(root.path(), identity("d")).unwrap();
    let file = run.save_checkpoint(&state(1), 1).unwrap().join(MANIFEST_FILE);
    let text = fs::read_to_string(&file).unwrap().replace("\"version\": 1", "\"version\": 2");
    fs::write(&file, text).unwrap();
    drop(run);
    let error = RunDir::open(root.path(), identity("d"), 2).unwrap_err().to_string();
    assert!(error.contains("this program reads version 1"), "{error}");
}

/// What is found when a checkpoint of step 3 of 9 is opened after `change`.
fn opened_after(change: impl FnOnce(&RunDir, &Path), parameters: usize) -> Result<Option<SessionState>> {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(root.path(), identity("d")).unwrap();
    let folder = run.save_checkpoint(&state(3), 2).unwrap();
    change(&run, &folder);
    drop(run);
    RunDir::open(root.path(), identity("d"), parameters).map(|(_, state, _)| state)
}

fn edited(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

#[test]
fn a_step_that_is_not_that_of_the_folder_or_beyond_the_plan_is_not_believed() {
    assert_eq!(opened_after(|_, _| {}, 2).unwrap(), Some(state(3)));
    let refused = |change: &dyn Fn(&RunDir, &Path)| format!("{:#}", opened_after(change, 2).unwrap_err());
    let lie = refused(&|_, folder| edited(&folder.join(MANIFEST_FILE), "\"step\": 3", "\"step\": 8"));
    assert!(lie.contains("says step 8, and its folder is of step 3"), "{lie}");
    let renamed = refused(&|run, folder| fs::rename(folder, run.checkpoint(7)).unwrap());
    assert!(renamed.contains("says step 3, and its folder is of step 7"), "{renamed}");
    let beyond = refused(&|run, folder| {
        edited(&folder.join(MANIFEST_FILE), "\"step\": 3", "\"step\": 18446744073709551615");
        fs::rename(folder, run.checkpoint(u64::MAX)).unwrap();
    });
    assert!(beyond.contains("of 9"), "{beyond}");
}

#[test]
fn a_state_of_another_size_is_refused_before_it_is_read() {
    let other = format!("{:#}", opened_after(|_, _| {}, 3).unwrap_err());
    assert!(other.contains("a state of 3 weights has 36 and a short header") || other.contains("[2]"), "{other}");
    // A file of 20 GB that holds nothing.
    let sparse = |_: &RunDir, folder: &Path| {
        fs::File::create(folder.join(STATE_FILE)).unwrap().set_len(20 << 30).unwrap();
    };
    let huge = format!("{:#}", opened_after(sparse, 2).unwrap_err());
    assert!(huge.contains("a state of 2 weights has 24"), "{huge}");
}

#[cfg(unix)]
#[test]
fn links_in_a_run_are_refused_and_what_they_name_stays_as_it_was() {
    use std::os::unix::fs::symlink;
    for link in [LOCK_FILE, "checkpoints", "adapter"] {
        let root = tempfile::tempdir().unwrap();
        let (theirs, run) = (root.path().join("theirs"), root.path().join("run"));
        drop(RunDir::create(&run, identity("d")).unwrap());
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("file"), "precious").unwrap();
        let place = run.join(link);
        let _ = fs::remove_file(&place);
        let _ = fs::remove_dir(&place);
        symlink(if link == LOCK_FILE { theirs.join("file") } else { theirs.clone() }, &place).unwrap();
        let result = RunDir::open(&run, identity("d"), 2).and_then(|(run, ..)| {
            run.publish_folder("adapter", |folder| disk::write_new(&folder.join("a"), b"a", Access::AsUsual))
        });
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.contains("is a link") && error.contains("hint: "), "{link}: {error}");
        assert_eq!(fs::read(theirs.join("file")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 1, "{link}");
    }
}

#[cfg(unix)]
#[test]
fn what_a_run_writes_is_the_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(root.path(), identity("d")).unwrap();
    run.write("config.toml", b"system = \"a prompt\"").unwrap();
    assert_eq!(fs::metadata(run.join("config.toml")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_changed_checkpoint_never_panics() {
    let saved = tempfile::tempdir().unwrap();
    let run = RunDir::create(saved.path(), identity("d")).unwrap();
    let folder = run.save_checkpoint(&state(3), 2).unwrap();
    drop(run);
    let [manifest, tensors] = [MANIFEST_FILE, STATE_FILE].map(|name| fs::read(folder.join(name)).unwrap());
    let hash = datasets::digest::sha256_hex(&tensors);
    let both = (crate::fuzz::spoilt(manifest.clone()), crate::fuzz::spoilt(tensors.clone()), 0..3_u8);
    crate::fuzz::run(96, &both, |(other_manifest, other_tensors, which)| {
        let (manifest, tensors) = match which {
            0 => (other_manifest, tensors.clone()),
            // Whoever changes the tensors can hash them again.
            1 => {
                let again = datasets::digest::sha256_hex(&other_tensors);
                (String::from_utf8(manifest.clone()).unwrap().replace(&hash, &again).into_bytes(), other_tensors)
            }
            _ => (manifest.clone(), other_tensors),
        };
        fs::write(folder.join(MANIFEST_FILE), manifest).unwrap();
        fs::write(folder.join(STATE_FILE), tensors).unwrap();
        if let Ok((_, Some(found), _)) = RunDir::open(saved.path(), identity("d"), 2) {
            let lengths = [found.parameters.len(), found.first.len(), found.second.len()];
            proptest::prop_assert_eq!((found.step, lengths), (3, [2; 3]));
        }
        Ok(())
    });
}
