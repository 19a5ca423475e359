//! Runs that were trained and evaluated once for all tests of publishing, and copies of them to spoil.
//! Knows the command line of `publish`; knows nothing of what is right or wrong.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::eval::{eval, scene};
use crate::hub_server::HubServer;
use crate::util::{Done, Scene, copy_folder};

/// What every publication of the tests says of its base: it is no model of any hub, and states no licence.
pub(crate) const SAID: [&str; 4] = ["--base", "tiny/chat", "--accept-licence", "unknown"];
pub(crate) const REPO: &str = "roe/legal";

/// A run that was trained and evaluated once for all tests; its rows stay where its config says.
pub(crate) fn finished() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let scene = scene("", "");
        eval(&scene, &[]).good();
        scene
    })
}

/// The same with a closed list of answers.
pub(crate) fn with_labels() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let scene = scene("labels = [\"governing law\", \"termination\", \"assignment\", \"definitions\"]", "");
        eval(&scene, &[]).good();
        scene
    })
}

/// A copy of a run, for one test.
pub(crate) struct Copy {
    folder: TempDir,
}

impl Copy {
    pub(crate) fn new() -> Self {
        Self::of(finished())
    }

    pub(crate) fn of(scene: &Scene) -> Self {
        let copy = Self { folder: TempDir::new().unwrap() };
        copy_folder(&scene.path("run"), &copy.path(""));
        copy
    }

    /// A file of the run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let run = self.folder.path().join("run");
        if name.is_empty() { run } else { run.join(name) }
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{from} is not in {name}");
        fs::write(self.path(name), text.replacen(from, to, 1)).unwrap();
    }

    /// `publish RUN --repo …` with what is always said, at no hub.
    pub(crate) fn command(&self, more: &[&str]) -> Command {
        self.command_to(REPO, more)
    }

    fn command_to(&self, repo: &str, more: &[&str]) -> Command {
        let mut command = finished().command();
        command.arg("publish").arg(self.path("")).args(["--repo", repo]).args(SAID).args(more);
        command
    }

    pub(crate) fn dry(&self, more: &[&str]) -> Done {
        Done::of(self.command(&[&["--dry-run"], more].concat()).output().unwrap())
    }

    /// The same at a hub, with a token.
    pub(crate) fn publish(&self, hub: &HubServer, token: &str, more: &[&str]) -> Done {
        self.publish_to(hub, token, REPO, more)
    }

    pub(crate) fn publish_to(&self, hub: &HubServer, token: &str, repo: &str, more: &[&str]) -> Done {
        let mut command = self.command_to(repo, more);
        command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", &hub.url).env("HF_TOKEN", token);
        Done::of(command.output().unwrap())
    }
}
