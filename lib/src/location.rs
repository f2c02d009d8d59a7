//! Owns what names a history: a file, or a PostgreSQL server by its URL. Pure. Knows how a name is
//! read and shown; a URL is never shown with its credentials.

pub(crate) mod url;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a history is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// A file of SQLite.
    File(PathBuf),
    /// A database of PostgreSQL.
    Server(ServerUrl),
}

impl Location {
    /// The same, with a relative file taken to be in `folder`.
    pub fn within(self, folder: &Path) -> Location {
        match self {
            Location::File(path) => Location::File(folder.join(path)),
            server => server,
        }
    }

    /// The file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Location::File(path) => Some(path),
            Location::Server(_) => None,
        }
    }
}

impl From<OsString> for Location {
    fn from(name: OsString) -> Location {
        let is_url = |name: &str| url::SCHEMES.iter().any(|scheme| name.starts_with(scheme));
        match name.into_string() {
            Ok(name) if is_url(&name) => Location::Server(ServerUrl(name)),
            Ok(name) => Location::File(name.into()),
            Err(name) => Location::File(name.into()),
        }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Location {
        Location::File(path.to_path_buf())
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Location {
        Location::File(path.clone())
    }
}

impl From<&Location> for Location {
    fn from(location: &Location) -> Location {
        location.clone()
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Location {
        Location::File(path)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Location::File(path) => path.display().fmt(formatter),
            Location::Server(url) => url.fmt(formatter),
        }
    }
}

/// The URL of a server, with what may be secret in it: it is shown without.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// The settings that it gives, by the names that libpq has for them. An error says what is wrong
    /// with it and repeats nothing of it.
    pub(crate) fn settings(&self) -> Result<Vec<(String, String)>, String> {
        url::settings(&self.0)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        // Of what cannot be read it is not known which part is the password.
        let settings = self.settings().unwrap_or_default();
        let of = |name: &str| settings.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        formatter.write_str("postgres://")?;
        formatter.write_str(of("host"))?;
        if !of("port").is_empty() {
            write!(formatter, ":{}", of("port"))?;
        }
        if !of("dbname").is_empty() {
            write!(formatter, "/{}", of("dbname"))?;
        }
        if !of("service").is_empty() {
            write!(formatter, "?service={}", of("service"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_from_a_file_and_shown_without_its_credentials() {
        let of = |name: &str| Location::from(OsString::from(name));
        assert_eq!(of("a/postgres.db"), Location::File("a/postgres.db".into()));
        assert_eq!(of("x.db").within(Path::new("/a")), Location::File("/a/x.db".into()));
        for (name, shown) in [
            ("postgres://ann:s3cret@db.example:5433/team?sslmode=require", "postgres://db.example:5433/team"),
            ("postgresql://ann:s3cret@db/team?password=s3cret", "postgres://db/team"),
            ("postgres:///team?host=/run/pg&user=ann&password=s3cret", "postgres:///run/pg/team"),
            ("postgres://?service=ci", "postgres://?service=ci"),
            // What nobody can read may be a password anywhere.
            ("postgres://ann:s3cret/x@db/team", "postgres://"),
            ("postgres://ann:s3cret?x@db/team", "postgres://"),
            ("postgres://ann:12/s3cret@db/team", "postgres://"),
            ("postgres://ann:s3cret@@db/team", "postgres://"),
        ] {
            let location = of(name);
            assert_eq!(location.to_string(), shown, "{name}");
            assert!(!format!("{location:?}").contains("s3cret"), "{name}");
        }
    }
}
