//! Tests of `settings`: every place that says something, and which of them counts.

use std::collections::HashMap;

use super::*;

struct Around {
    variables: HashMap<&'static str, &'static str>,
    files: HashMap<&'static str, &'static str>,
}

impl Around {
    fn resolve(&self, url: &[(&str, &str)]) -> Result<Settings, String> {
        let url = url.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let read = |path: &Path| {
            self.files.get(path.to_str().unwrap()).map(|text| text.to_string()).ok_or(io::ErrorKind::NotFound.into())
        };
        Settings::resolve(
            url,
            &Surroundings {
                variable: &|name| self.variables.get(name).map(|value| value.to_string()),
                read: &read,
                read_secret: &read,
                exists: &|path| self.files.contains_key(path.to_str().unwrap()),
                user: "me",
            },
        )
    }
}

fn around(variables: &[(&'static str, &'static str)], files: &[(&'static str, &'static str)]) -> Around {
    Around { variables: variables.iter().copied().collect(), files: files.iter().copied().collect() }
}

#[test]
fn the_url_counts_before_the_service_and_the_service_before_the_environment() {
    let around = around(
        &[
            ("PGHOST", "c"),
            ("PGUSER", "env"),
            ("PGDATABASE", "env"),
            ("PGSERVICE", "ci"),
            ("HOME", "/h"),
            ("PGPORT", ""),
        ],
        &[("/h/.pg_service.conf", "[other]\nhost=x\n[ci]\n# ours\nhost = b\nuser=service\nport=7\n[last]\nport=8\n")],
    );
    let settings = around.resolve(&[("host", "a")]).unwrap();
    assert_eq!((settings.hosts, settings.user.as_str()), (vec![("a".to_string(), 7)], "service"));
    assert_eq!((settings.database.as_str(), settings.passwords), ("env", vec![None]));
    assert!(around.resolve(&[("service", "none")]).err().unwrap().contains("no service \"none\""));
}

#[test]
fn what_nobody_says_is_as_with_libpq() {
    let bare = around(&[], &[("/tmp/.s.PGSQL.5432", "")]).resolve(&[]).unwrap();
    assert_eq!((bare.hosts, bare.user.as_str()), (vec![("/tmp".to_string(), 5432)], "me"));
    assert_eq!((bare.database.as_str(), bare.sslmode), ("me", SslMode::Prefer));
    assert_eq!(bare.connect_timeout, Some(Duration::from_secs(3)));
    let two = around(&[("PGCONNECT_TIMEOUT", "7")], &[]).resolve(&[("host", "a,b"), ("port", "1,")]).unwrap();
    assert_eq!(two.hosts, [("a".to_string(), 1), ("b".to_string(), 5432)]);
    assert_eq!((two.connect_timeout, two.passwords.len()), (Some(Duration::from_secs(7)), 2));
}

#[test]
fn passwords_come_from_the_file_that_libpq_reads() {
    let pass = "# ours\ndb:5432:team:ann:wrong:but:colons\n*:*:te\\:am:me:p\\\\w\nlocalhost:*:*:*:socket\n";
    let around = around(&[("HOME", "/h")], &[("/h/.pgpass", pass)]);
    for (url, expected) in [
        (vec![("host", "db"), ("dbname", "team"), ("user", "ann")], Some("wrong:but:colons")),
        (vec![("host", "db"), ("dbname", "te:am")], Some("p\\w")),
        (vec![("host", "/run"), ("dbname", "x")], Some("socket")),
        (vec![("host", "db"), ("dbname", "x")], None),
        (vec![("host", "db"), ("password", "given")], Some("given")),
    ] {
        let settings = around.resolve(&url).unwrap();
        assert_eq!(settings.passwords, [expected.map(str::to_string)], "{url:?}");
    }
}

#[test]
fn what_cannot_be_used_is_refused() {
    let system = around(&[], &[]).resolve(&[("sslrootcert", "system")]).unwrap();
    assert_eq!(system.sslmode, SslMode::VerifyFull);
    let weaker = around(&[], &[]).resolve(&[("sslrootcert", "system"), ("sslmode", "prefer")]);
    assert!(weaker.err().unwrap().contains("asks for sslmode=verify-full"));
    for (name, value, said) in [
        ("sslmode", "always", "sslmode is one of"),
        ("connect_timeout", "soon", "number of seconds"),
        ("sslmod", "require", "\"sslmod\", which rpt does not know"),
        ("port", "1,2", "2 ports for 1 hosts"),
        ("channel_binding", "yes", "channel_binding is"),
        ("target_session_attrs", "standby", "target_session_attrs is"),
    ] {
        let error = around(&[], &[]).resolve(&[(name, value)]).err().unwrap();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_file_of_passwords_that_others_can_read_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("pgpass");
    std::fs::write(&path, "*:*:*:*:x\n").unwrap();
    for (mode, readable) in [(0o640, false), (0o600, true)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(read_secret(&path).is_ok(), readable);
    }
}
