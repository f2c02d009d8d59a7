//! Who may do what, what nobody is told, and what is verified of a server.

use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

use super::record;
use crate::history::{History, stream, text};
use crate::postgres::{self, Server};
use crate::project::Project;

const ROLES: &str = include_str!("../../../lib/src/postgres/roles.sql");

/// The URL of a database, for another user.
fn as_user(url: &str, user: &str) -> String {
    url.replace("rpt@", &format!("{user}@"))
}

/// A server with a database for these roles, and somebody in each of them.
fn server_with_roles() -> (Server, String) {
    let server = Server::new();
    let url = server.database();
    let mut superuser = server.client(postgres::name_of(&url));
    superuser.batch_execute(ROLES).unwrap();
    superuser
        .batch_execute(
            "CREATE ROLE ann LOGIN IN ROLE rpt_reader;
             CREATE ROLE ci LOGIN IN ROLE rpt_recorder;
             CREATE ROLE keeper LOGIN IN ROLE rpt_owner;
             ALTER ROLE keeper SET role = rpt_owner;",
        )
        .unwrap();
    (server, url)
}

#[test]
fn each_role_does_what_it_may_and_no_more() {
    let (server, url) = server_with_roles();
    let of = |user: &str| History { server: Some(as_user(&url, user)), ..History::new() };
    let (ann, ci, keeper) = (of("ann"), of("ci"), of("keeper"));
    let run = stream(1, &[("t.py::a", "passed", 1.0, None), ("t.py::b", "failed", 1.0, Some("boom"))]);
    // Before the owner made them there are no tables, and nobody else makes any.
    let output = ci.run(&["record"], run.as_bytes());
    assert!(text(&output.stderr).contains("permission denied"), "{}", text(&output.stderr));
    keeper.ok(&["migrate"], b"");
    assert_eq!(record(&ci, &["push"])["runs"], json!(1));
    ci.record(&run);
    ci.record(&stream(2, &[("t.py::a", "failed", 1.0, Some("boom")), ("t.py::c", "passed", 1.0, None)]));
    assert_eq!(ann.records(&["summary"]).len(), 3);
    assert_eq!(ann.records(&["flaky"]), keeper.records(&["flaky"]));
    for refused in [&["prune", "--keep-runs", "0"][..], &["import", "-"], &["vacuum"]] {
        let (stderr, exit) = ann.fails(refused, run.replace("boom", "new").as_bytes());
        assert!(exit == 3 && stderr.contains("permission denied"), "{refused:?}: {stderr}");
    }
    let mut client = server.client_as("ci", postgres::name_of(&url));
    for harm in
        ["DROP TABLE rpt.run", "TRUNCATE rpt.result", "CREATE TABLE rpt.own (x int)", "ALTER TABLE rpt.run ADD x int"]
    {
        assert!(client.batch_execute(harm).is_err(), "{harm}");
    }
    assert_eq!(record(&keeper, &["prune", "--keep-runs", "1"])["runs"], json!(1));
    assert_eq!(record(&ann, &["check"])["problems"], json!([]));
}

#[test]
fn a_machine_runs_a_plan_with_the_rights_of_its_role() {
    let (server, url) = server_with_roles();
    let project = Project::with_test("def test_a(): pass\ndef test_b(): assert 0\n");
    let as_node = |user: &str| {
        let url = as_user(&url, user);
        project.command("rpt-run").args([".", "--plan", "p", "--history", &url, "--queue", &url]).run()
    };
    let history = |user: &str, args: &[&str]| {
        project.command("rpt-history").args(args).args(["--history", &as_user(&url, user)]).run()
    };
    as_node("ci").assert_code(3).assert_one_line(&["permission denied"]);
    history("keeper", &["migrate"]).assert_code(0);
    as_node("ann").assert_code(3).assert_one_line(&["permission denied"]);
    as_node("ci").assert_code(1);
    assert_eq!(history("ann", &["verdict", "--plan", "p"]).assert_code(1).of_type("verdict")[0]["passed"], 1);
    assert_eq!(history("ci", &["plans"]).of_type("plan")[0]["decided"], 2);
    history("ci", &["plans", "--prune", "0s"]).assert_code(3).assert_one_line(&["permission denied"]);
    let mut client = server.client_as("ci", postgres::name_of(&url));
    for harm in ["DELETE FROM rpt_queue.verdict", "DROP TABLE rpt_queue.unit", "CREATE TABLE rpt_queue.own (x int)"] {
        assert!(client.batch_execute(harm).is_err(), "{harm}");
    }
    assert_eq!(history("keeper", &["plans", "--prune", "0s"]).of_type("plans_pruned")[0]["plans"], 1);
    assert!(history("ann", &["plans"]).records().is_empty());
}

#[test]
fn no_password_is_ever_told() {
    let server = Server::new();
    let url = server.database();
    server
        .client("postgres")
        .batch_execute("SET password_encryption = 'scram-sha-256'; CREATE ROLE ann LOGIN SUPERUSER PASSWORD 's3cret'")
        .unwrap();
    // From here on a password is asked for.
    server.admit("local all all scram-sha-256\n");
    let host = server.folder().display().to_string();
    let name = postgres::name_of(&url);
    let history = History::new();
    let folder = history.root.path();
    let write = |name: &str, text: String, mode: u32| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let pass = write("pass", format!("localhost:*:{name}:ann:s3cret\n"), 0o600);
    let wrong = write("wrong", "*:*:*:*:s3cret-not\n".to_string(), 0o600);
    let open = write("open", "*:*:*:*:s3cret\n".to_string(), 0o644);
    let service = write("service", format!("[ci]\nhost={host}\ndbname={name}\nuser=ann\npassword=s3cret\n"), 0o644);
    let bare = format!("postgres:///{name}?host={host}&user=ann");
    let asked = |url: &str, variables: &[(&str, &str)]| {
        let mut command = history.command(&["check", "--history", url]);
        command.envs(variables.iter().copied()).env("HOME", folder);
        command.output().unwrap()
    };
    let good = [
        (format!("postgres://ann:s3cret@/{name}?host={host}"), vec![]),
        (bare.clone(), vec![("PGPASSWORD", "s3cret")]),
        (bare.clone(), vec![("PGPASSFILE", pass.as_str())]),
        ("postgres://".to_string(), vec![("PGSERVICE", "ci"), ("PGSERVICEFILE", service.as_str())]),
    ];
    let migrated = history.command(&["migrate", "--history", &good[0].0]).output().unwrap();
    assert!(migrated.status.success() && !text(&migrated.stdout).contains("s3cret"), "{}", text(&migrated.stderr));
    for (url, variables) in &good {
        let output = asked(url, variables);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{url} {variables:?}");
    }
    for (url, variables, code, said) in [
        (format!("postgres://ann:s3cret-not@/{name}?host={host}"), vec![], 3, "password authentication failed"),
        (bare.clone(), vec![("PGPASSFILE", wrong.as_str())], 3, "password authentication failed"),
        (bare.clone(), vec![("PGPASSFILE", open.as_str())], 4, "chmod 600"),
        (bare.clone(), vec![], 3, "password"),
        (format!("postgres://ann:s3cret/@/{name}"), vec![], 4, "the port is no number"),
        (format!("{bare}&sslmod=require&password=s3cret"), vec![], 4, "\"sslmod\", which rpt does not know"),
    ] {
        let output = asked(&url, &variables);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(said) && !told.contains("s3cret") && told.lines().count() == 1, "{told}");
    }
    // What a run records of itself holds none either.
    let recorded = History { server: Some(good[0].0.clone()), ..History::new() };
    recorded.record(&stream(1, &[("t.py::a", "passed", 1.0, None)]));
    let dump = recorded.ok(&["export"], b"") + &recorded.ok(&["runs", "--format", "text"], b"");
    assert!(!dump.contains("s3cret"), "{dump}");
}

/// A server with a certificate for `db.example` only.
struct Secured {
    server: Server,
    port: u16,
    roots: tempfile::TempDir,
}

static SECURED: LazyLock<Secured> = LazyLock::new(|| {
    let roots = tempfile::tempdir().unwrap();
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(roots.path().join(name), issuer.pem()).unwrap();
        issuer
    };
    let (own, _other) = (authority("own.crt"), authority("other.crt"));
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["db.example".to_string()]).unwrap().signed_by(&key, &own).unwrap();
    // Nobody else's by the time it is used: the kernel gives another port to each.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start(port, |folder| {
        let write = |name: &str, text: String, mode: u32| {
            std::fs::write(folder.join(name), text).unwrap();
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("server.crt", certificate.pem(), 0o644);
        write("server.key", key.serialize_pem(), 0o600);
        let folder = folder.display();
        format!(
            "-c listen_addresses=127.0.0.1 -c ssl=on -c ssl_cert_file={folder}/server.crt \
             -c ssl_key_file={folder}/server.key"
        )
    });
    // Over the network only with TLS: who connects there has it.
    server.admit("local all all trust\nhostssl all all 127.0.0.1/32 trust\n");
    Secured { server, port, roots }
});

#[test]
fn a_server_is_verified_as_sslmode_says() {
    let Secured { server, port, roots } = &*SECURED;
    server.client("postgres").batch_execute("CREATE DATABASE secured").unwrap();
    let history = History::new();
    let root = |name: &str| roots.path().join(name).display().to_string();
    let asked = |host: &str, settings: &str| {
        let url = format!("postgres://rpt@{host}:{port}/secured?{settings}");
        let output = history.command(&["migrate", "--history", &url]).env("HOME", "/nowhere").output().unwrap();
        (output.status.code().unwrap(), text(&output.stderr))
    };
    let (own, other) = (root("own.crt"), root("other.crt"));
    let by_name = "hostaddr=127.0.0.1&";
    for (host, settings, said) in [
        ("127.0.0.1", "sslmode=disable".to_string(), Some("no encryption")),
        ("127.0.0.1", "sslmode=prefer".to_string(), None),
        ("127.0.0.1", "sslmode=require".to_string(), None),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={other}"), Some("invalid peer certificate")),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={own}"), None),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={other}"), Some("invalid peer certificate")),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={own}"), Some("not valid for name")),
        ("db.example", format!("{by_name}sslmode=verify-full&sslrootcert={own}"), None),
        ("db.example", format!("{by_name}sslmode=verify-full&sslrootcert={other}"), Some("invalid peer certificate")),
        ("db.example", format!("{by_name}sslmode=verify-full"), Some("there is no root certificate")),
        ("db.example", format!("{by_name}sslmode=verify-ca&sslrootcert=/nowhere.crt"), Some("/nowhere.crt")),
    ] {
        let (code, told) = asked(host, &settings);
        match said {
            None => assert_eq!((code, told.as_str()), (0, ""), "{settings}"),
            Some(said) => assert!(code != 0 && told.contains(said), "{settings}: {code} {told}"),
        }
    }
}
