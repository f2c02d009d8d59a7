//! Owns how to reach a server: what the URL, the service file, the environment and the password file
//! say of it together, by the rules of libpq
//! (<https://www.postgresql.org/docs/current/libpq-connect.html>). Environment and files are arguments.
//! Holds the password; nobody prints it.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a connection may take, where nobody says: a run must not wait for its history.
const PATIENCE: Duration = Duration::from_secs(3);

/// libpq's variables, and the settings that they give.
const VARIABLES: &[(&str, &str)] = &[
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGAPPNAME", "application_name"),
    ("PGOPTIONS", "options"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGCHANNELBINDING", "channel_binding"),
];

/// Settings that are known beside those that a variable gives.
const OTHERS: &[&str] = &["service", "keepalives", "keepalives_idle", "tcp_user_timeout", "fallback_application_name"];

/// The machine's own root certificates, as libpq calls them.
pub(super) const SYSTEM: &str = "system";

/// Where PostgreSQL's socket is where nobody says: Debian's place, then the one of its source.
const SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// How much TLS, as libpq's sslmode says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SslMode {
    Disable,
    /// Where the server has it; also what `allow` is taken for.
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// How to reach a server.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// A name, an address or the folder of a socket, with its port: tried in this order.
    pub(super) hosts: Vec<(String, u16)>,
    /// Addresses of the hosts, where no name is to be looked up.
    pub(super) addresses: Vec<std::net::IpAddr>,
    pub(super) user: String,
    /// Of each host.
    pub(super) passwords: Vec<Option<String>>,
    pub(super) database: String,
    pub(super) sslmode: SslMode,
    /// A file, or `system`.
    pub(super) root_certificate: Option<String>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    /// `None`: as long as it takes.
    pub(super) connect_timeout: Option<Duration>,
    pub(super) application_name: String,
    pub(super) options: Option<String>,
    pub(super) writable: bool,
    pub(super) channel_binding: Option<String>,
}

/// What there is around the process.
pub(super) struct Surroundings<'a> {
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// The same for a file of passwords.
    pub(super) read_secret: &'a dyn Fn(&Path) -> io::Result<String>,
    pub(super) exists: &'a dyn Fn(&Path) -> bool,
    /// The name of the user whose process this is.
    pub(super) user: &'a str,
}

impl Settings {
    /// Works them out from those of a URL.
    pub(super) fn resolve(url: Vec<(String, String)>, around: &Surroundings) -> Result<Settings, String> {
        for (name, _) in &url {
            let is_known = VARIABLES.iter().any(|(_, known)| known == name) || OTHERS.contains(&name.as_str());
            if !is_known {
                return Err(format!("its URL has the setting {name:?}, which rpt does not know"));
            }
        }
        let mut given = Given(url);
        if let Some(service) = given.get("service").or_else(|| around.variable("PGSERVICE")) {
            given.0.extend(service_settings(&service, around)?);
        }
        for (variable, name) in VARIABLES {
            given.0.extend(around.variable(variable).map(|value| (name.to_string(), value)));
        }
        let user = given.get("user").unwrap_or_else(|| around.user.to_string());
        let database = given.get("dbname").unwrap_or_else(|| user.clone());
        let addresses = given.get("hostaddr").map(|addresses| {
            let address = |text: &str| text.parse().map_err(|_| "hostaddr is no address".to_string());
            addresses.split(',').map(address).collect::<Result<Vec<_>, String>>()
        });
        let hosts = hosts(&given, around)?;
        let root_certificate = given.get("sslrootcert").or_else(|| existing("root.crt", around));
        let is_system = root_certificate.as_deref() == Some(SYSTEM);
        let sslmode = match given.get("sslmode").as_deref() {
            None | Some("verify-full") if is_system => SslMode::VerifyFull,
            Some(_) if is_system => return Err("sslrootcert=system asks for sslmode=verify-full".to_string()),
            Some("disable") => SslMode::Disable,
            None | Some("allow" | "prefer") => SslMode::Prefer,
            Some("require") => SslMode::Require,
            Some("verify-ca") => SslMode::VerifyCa,
            Some("verify-full") => SslMode::VerifyFull,
            Some(_) => {
                return Err("sslmode is one of disable, allow, prefer, require, verify-ca, verify-full".to_string());
            }
        };
        let connect_timeout = match given.get("connect_timeout") {
            None => Some(PATIENCE),
            Some(text) => match text.trim().parse::<i64>() {
                Ok(seconds) if seconds <= 0 => None,
                Ok(seconds) => Some(Duration::from_secs(seconds as u64)),
                Err(_) => return Err("connect_timeout (PGCONNECT_TIMEOUT) is a number of seconds".to_string()),
            },
        };
        let writable = match given.get("target_session_attrs").as_deref() {
            None | Some("any" | "prefer-standby") => false,
            Some("read-write" | "primary") => true,
            Some(_) => return Err("target_session_attrs is any, read-write or primary".to_string()),
        };
        let channel_binding = given.get("channel_binding");
        if channel_binding.as_deref().is_some_and(|mode| !["disable", "prefer", "require"].contains(&mode)) {
            return Err("channel_binding is disable, prefer or require".to_string());
        }
        let passwords = match given.get("password") {
            Some(password) => vec![Some(password); hosts.len()],
            None => passwords(&hosts, &database, &user, given.get("passfile"), around)?,
        };
        Ok(Settings {
            addresses: addresses.transpose()?.unwrap_or_default(),
            user,
            passwords,
            database,
            sslmode,
            root_certificate,
            certificate: given.get("sslcert").or_else(|| existing("postgresql.crt", around)).map(PathBuf::from),
            key: given.get("sslkey").or_else(|| existing("postgresql.key", around)).map(PathBuf::from),
            connect_timeout,
            application_name: given.get("application_name").unwrap_or_else(|| "rpt".to_string()),
            options: given.get("options"),
            writable,
            channel_binding,
            hosts,
        })
    }
}

/// Settings in the order in which they count: the first of a name does.
struct Given(Vec<(String, String)>);

impl Given {
    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

impl Surroundings<'_> {
    /// What is empty counts as not set.
    fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn in_home(&self, name: &str) -> Option<PathBuf> {
        Some(Path::new(&self.variable("HOME")?).join(name))
    }
}

/// A file of libpq's own folder, if it is there.
fn existing(name: &str, around: &Surroundings) -> Option<String> {
    let path = around.in_home(&format!(".postgresql/{name}"))?;
    (around.exists)(&path).then(|| path.to_string_lossy().into_owned())
}

fn hosts(given: &Given, around: &Surroundings) -> Result<Vec<(String, u16)>, String> {
    let socket = || {
        let there = SOCKETS.into_iter().find(|folder| (around.exists)(&Path::new(folder).join(".s.PGSQL.5432")));
        there.unwrap_or(SOCKETS[0]).to_string()
    };
    let names = given.get("host").or_else(|| given.get("hostaddr")).unwrap_or_default();
    let names: Vec<String> =
        names.split(',').map(|name| if name.is_empty() { socket() } else { name.to_string() }).collect();
    let ports = given.get("port").unwrap_or_default();
    let ports: Vec<&str> = ports.split(',').collect();
    if ports.len() > 1 && ports.len() != names.len() {
        return Err(format!("there are {} ports for {} hosts", ports.len(), names.len()));
    }
    let port = |at: usize| match ports[if ports.len() > 1 { at } else { 0 }] {
        "" => Ok(5432),
        text => text.parse::<u16>().map_err(|_| "port is a number".to_string()),
    };
    names.into_iter().enumerate().map(|(at, name)| Ok((name, port(at)?))).collect()
}

/// The settings of a service, from the user's file or the system's.
fn service_settings(service: &str, around: &Surroundings) -> Result<Vec<(String, String)>, String> {
    let own = around.variable("PGSERVICEFILE").map(PathBuf::from).or_else(|| around.in_home(".pg_service.conf"));
    let system = around.variable("PGSYSCONFDIR").unwrap_or_else(|| "/etc/postgresql-common".to_string());
    let files = own.into_iter().chain([Path::new(&system).join("pg_service.conf")]);
    for text in files.filter_map(|path| (around.read)(&path).ok()) {
        let mut lines = text.lines().map(str::trim);
        if !lines.any(|line| line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) == Some(service)) {
            continue;
        }
        let own = lines.take_while(|line| !line.starts_with('['));
        let pairs = own.filter(|line| !line.is_empty() && !line.starts_with('#'));
        return pairs
            .map(|line| match line.split_once('=') {
                Some((name, value)) => Ok((name.trim().to_string(), value.trim().to_string())),
                None => Err(format!("the service {service:?}: a line is no name=value")),
            })
            .collect();
    }
    Err(format!("there is no service {service:?} in ~/.pg_service.conf (PGSERVICEFILE)"))
}

/// The password of each host from the password file. A file that others can read is not used: libpq
/// does the same and warns.
fn passwords(
    hosts: &[(String, u16)],
    database: &str,
    user: &str,
    file: Option<String>,
    around: &Surroundings,
) -> Result<Vec<Option<String>>, String> {
    let text = match file.map(PathBuf::from).or_else(|| around.in_home(".pgpass")) {
        None => String::new(),
        Some(path) => match (around.read_secret)(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(format!("{}: others can read this file of passwords: chmod 600 it", path.display()));
            }
            Err(_) => String::new(),
        },
    };
    let of_host = |(host, port): &(String, u16)| {
        // A socket is asked for by the name of its machine.
        let host = if host.starts_with('/') { "localhost" } else { host };
        let wanted = [host, &port.to_string(), database, user];
        text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
            let mut fields = passfile_fields(line).into_iter();
            let matches =
                wanted.iter().all(|wanted| fields.next().is_some_and(|field| field == "*" || field == *wanted));
            if matches { fields.next() } else { None }
        })
    };
    Ok(hosts.iter().map(of_host).collect())
}

/// `host:port:database:user:password`, with `\:` and `\\`.
fn passfile_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        let last = fields.len() - 1;
        match character {
            '\\' => fields[last].extend(rest.next()),
            ':' if fields.len() < 5 => fields.push(String::new()),
            other => fields[last].push(other),
        }
    }
    fields
}

/// Reads a file of passwords, where nobody else can.
pub(super) fn read_secret(path: &Path) -> io::Result<String> {
    let file = std::fs::metadata(path)?;
    if file.is_file() && file.permissions().mode() & 0o077 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
