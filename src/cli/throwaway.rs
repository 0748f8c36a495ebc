//! A PostgreSQL server that exists as long as we do: for `pgteller demo` and for the tests.
//!
//! Takes the machine's own server binaries, gives a running cluster in a fresh temporary directory, on loopback, with SCRAM. As root it runs
//! as an unprivileged user. A watchdog stops it and removes everything when this process ends, however it ends.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::clock::Clock;

/// The environment variable that names the directory of `initdb`, `pg_ctl` and `postgres`.
pub const BIN_ENV: &str = "PGTELLER_PG_BIN";

/// Where packages put servers.
const PLACES: &[&str] = &["/usr/lib/postgresql", "/usr/pgsql-18", "/usr/pgsql-17", "/opt/homebrew/opt", "/usr/local/opt"];

/// A running throwaway cluster.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    port: u16,
    password: String,
    watchdog: Child,
}

/// The user that the server runs as.
#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Cluster {
    /// Starts one with these additional settings (`name=value`).
    pub fn start(clock: &Clock, settings: &[&str]) -> anyhow::Result<Self> {
        let bin = find_binaries()?;
        let user = unprivileged()?;
        let directory = std::env::temp_dir().join(format!("pgteller-{}", clock.random_hex::<6>()));
        std::fs::DirBuilder::new().mode(0o700).create(&directory).context("making a temporary directory")?;
        own(&directory, user)?;
        let watchdog = watch(&directory)?;
        let mut cluster = Self { directory, port: free_port()?, password: clock.random_hex::<16>(), watchdog };
        cluster.initialise(&bin, user)?;
        cluster.run(&bin, user, settings)?;
        Ok(cluster)
    }

    /// The superuser's URL of a database, without password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The superuser's URL of a database, with password: for people and tools outside.
    pub fn dsn(&self, database: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its own directory, removed at the end.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn initialise(&self, bin: &Path, user: Option<User>) -> anyhow::Result<()> {
        let password_file = self.directory.join("password");
        std::fs::write(&password_file, &self.password)?;
        std::fs::set_permissions(&password_file, std::fs::Permissions::from_mode(0o600))?;
        own(&password_file, user)?;
        let mut initdb = Command::new(bin.join("initdb"));
        initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.arg(format!("--pwfile={}", password_file.display())).arg("-D").arg(self.directory.join("data"));
        finish(initdb, user, &self.directory, "initdb")?;
        std::fs::remove_file(password_file)?;
        Ok(())
    }

    fn run(&mut self, bin: &Path, user: Option<User>, settings: &[&str]) -> anyhow::Result<()> {
        let fixed = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            format!("unix_socket_directories={}", self.directory.display()),
            "fsync=off".to_owned(),
            "full_page_writes=off".to_owned(),
            "max_connections=200".to_owned(),
            "shared_buffers=64MB".to_owned(),
        ];
        let mut options = String::new();
        for setting in fixed.iter().map(String::as_str).chain(settings.iter().copied()) {
            options.push_str(&format!("-c {setting} "));
        }
        let mut start = Command::new(bin.join("pg_ctl"));
        start.args(["-w", "-s", "-t", "60", "-D"]).arg(self.directory.join("data"));
        start.arg("-l").arg(self.directory.join("log")).arg("-o").arg(options).arg("start");
        finish(start, user, &self.directory, "pg_ctl start").with_context(|| {
            let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            format!("the server's log says: {}", log.lines().last().unwrap_or_default())
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The end of its stdin is the watchdog's sign; waiting makes sure that nothing is left when we are gone.
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// A process of its own that outlives us just long enough to stop the server and remove the directory.
fn watch(directory: &Path) -> anyhow::Result<Child> {
    let script = r#"
        cat >/dev/null
        pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
        if [ -n "$pid" ]; then
            kill -QUIT "$pid" 2>/dev/null
            for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
            kill -KILL "$pid" 2>/dev/null
        fi
        rm -rf "$1""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    // Its own group: a Ctrl-C at the terminal is meant for us, and must not take the watchdog with it.
    command.process_group(0);
    command.spawn().context("starting the watchdog of the throwaway server")
}

fn finish(mut command: Command, user: Option<User>, directory: &Path, what: &str) -> anyhow::Result<()> {
    // The server keeps the descriptors that it inherits: only stderr is read, and from a file.
    let noise = directory.join("noise");
    let file = std::fs::File::create(&noise)?;
    own(&noise, user)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).current_dir(directory);
    become_user(&mut command, user);
    let status = command.status().with_context(|| format!("running {what}"))?;
    if !status.success() {
        let mut said = String::new();
        std::fs::File::open(&noise)?.read_to_string(&mut said)?;
        bail!("{what} failed: {}", said.trim());
    }
    Ok(())
}

fn become_user(command: &mut Command, user: Option<User>) {
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
}

fn own(path: &Path, user: Option<User>) -> anyhow::Result<()> {
    if let Some(user) = user {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
            .with_context(|| format!("handing over `{}`", path.display()))?;
    }
    Ok(())
}

/// As root: the user `postgres`, else `nobody`. Otherwise ourselves.
fn unprivileged() -> anyhow::Result<Option<User>> {
    let id = Command::new("id").arg("-u").output().context("asking who we are")?;
    if String::from_utf8_lossy(&id.stdout).trim() != "0" {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .map(Some)
        .context("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`")
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The newest server on this machine.
fn find_binaries() -> anyhow::Result<PathBuf> {
    if let Some(directory) = std::env::var_os(BIN_ENV) {
        let directory = PathBuf::from(directory);
        ensure!(directory.join("initdb").exists(), "{BIN_ENV} names `{}`, which has no initdb", directory.display());
        return Ok(directory);
    }
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for place in PLACES {
        for directory in std::iter::once(PathBuf::from(place)).chain(below(Path::new(place))) {
            let bin = directory.join("bin");
            if bin.join("initdb").exists() && bin.join("postgres").exists() {
                let digits: String = directory.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
                found.push((digits.parse().unwrap_or(0), bin));
            }
        }
    }
    found.sort();
    if let Some((_, bin)) = found.pop() {
        return Ok(bin);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|directory| directory.join("initdb").exists() && directory.join("postgres").exists())
        .context("no PostgreSQL server on this machine: run `make setup`, or set PGTELLER_PG_BIN")
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Writes a file that only we can read.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
