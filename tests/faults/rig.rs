//! A broker with the shim between it and its files.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::chance::Chance;
use crate::control::Control;
use crate::power::Ground;
use crate::power::Lost;
use crate::power::Names;
use crate::power::Survives;
use crate::wire::process::Broker;
use crate::wire::process::Settings;

/// See the module's page.
pub(crate) struct Rig {
    pub(crate) broker: Broker,
    pub(crate) control: Control,
    pub(crate) ground: Ground,
}

impl Rig {
    /// Starts a broker whose section `data` has these lines too.
    pub(crate) fn start(data: &str) -> Self {
        Self::start_with(data, "")
    }

    /// The same, with more sections.
    pub(crate) fn start_with(data: &str, toml: &str) -> Self {
        Self::start_as(Settings {
            data: data.to_owned(),
            toml: toml.to_owned(),
            ..Settings::default()
        })
    }

    /// Starts a broker with these settings.
    pub(crate) fn start_as(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let ground = Ground {
            directory: root.join("data"),
            journal: root.join("journal"),
            kept: root.join("kept"),
            names: Names::WithFolder,
        };
        fs::create_dir(&ground.kept).unwrap();
        let control = Control::create(&root.join("control"));
        let environment = environment(&ground, &root.join("control"));
        let settings = Settings { environment, ..settings };
        Self { broker: Broker::start_in(folder, settings), control, ground }
    }

    /// Kills the broker.
    pub(crate) fn kill(&mut self) {
        self.broker.kill();
        self.ground.trim();
    }

    /// What the broker says is damaged in its log: nothing may be after a cut or a kill.
    pub(crate) fn damage(&self) -> Vec<String> {
        let output = self.broker.output();
        let damage = output.lines().filter(|line| line.contains("damage:"));
        damage.map(|line| format!("found after a mere crash: {line}")).collect()
    }

    /// Kills the broker and cuts the power.
    pub(crate) fn cut(&mut self, chance: &mut Chance) -> Lost {
        self.kill();
        self.ground.cut(Survives::draw(chance), chance)
    }
}

/// What a process under the shim finds in its environment.
pub(crate) fn environment(ground: &Ground, control: &Path) -> Vec<(String, String)> {
    let variable = |name: &str, path: &Path| (name.to_owned(), path.display().to_string());
    vec![
        variable("LD_PRELOAD", shim()),
        variable("FAULTS_DIRECTORY", &ground.directory),
        variable("FAULTS_JOURNAL", &ground.journal),
        variable("FAULTS_KEPT", &ground.kept),
        variable("FAULTS_CONTROL", control),
    ]
}

/// The shim, built once.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let built = folder.join(format!("faults-{}.so", std::process::id()));
        let shim = folder.join("faults.so");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .args([&built, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.c")])
            .args(["-lpthread"])
            .status();
        assert!(
            compiled.is_ok_and(|status| status.success()),
            "tests/faults/shim.c does not compile: a C compiler named cc has to be there"
        );
        // Another test of the same kind may be running with the old one.
        fs::rename(built, &shim).unwrap();
        shim
    })
}
