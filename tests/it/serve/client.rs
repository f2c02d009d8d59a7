//! Owns speaking with a daemon in tests: through the Python client, which shares no code
//! with it.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::project::{Project, binary, python};

/// The forms of a message.
pub(crate) const FORMS: [&str; 3] = ["named", "positional", "json"];

/// A daemon in the background of a project; ended with the test.
pub(crate) struct Daemon<'a> {
    pub(crate) project: &'a Project,
}

impl<'a> Daemon<'a> {
    #[track_caller]
    pub(crate) fn start(project: &'a Project) -> Daemon<'a> {
        let daemon = Daemon { project };
        project.command("rpt-serve").arg("--detach").run().assert_code(0);
        daemon
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.project.runtime().join("rpt/serve.sock")
    }

    pub(crate) fn client(&self, form: &str) -> Client {
        Client::start(self.project, ["socket", self.socket().to_str().unwrap(), form])
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        let output = self.project.command("rpt-serve").arg("--status").run();
        serde_json::from_str(output.assert_code(0).text().trim()).unwrap()
    }

    #[track_caller]
    pub(crate) fn stop(&self) {
        self.project.command("rpt-serve").arg("--stop").run().assert_code(0);
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if self.socket().exists() {
            // A test that panics leaves no daemon behind.
            drop(self.project.command("rpt-serve").arg("--stop").run());
        }
    }
}

/// One connection.
pub(crate) struct Client {
    process: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Client {
    /// A client that starts the daemon itself and speaks through its streams.
    pub(crate) fn of_own(project: &Project, form: &str) -> Client {
        Client::start(project, ["stdio", binary("rpt-serve").to_str().unwrap(), form])
    }

    fn start(project: &Project, args: [&str; 3]) -> Client {
        let client = concat!(env!("CARGO_MANIFEST_DIR"), "/it/serve/client.py");
        // The one with msgpack, whatever is tested with.
        let with_msgpack = concat!(env!("CARGO_MANIFEST_DIR"), "/../.venvs/pytest9/bin/python");
        let mut command = project.with_python(with_msgpack.into()).arg(client).args(args).into_process();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let requests = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Client { process, requests, answers }
    }

    /// Sends a request without waiting for its answer.
    pub(crate) fn send(&mut self, request: &Value) {
        writeln!(self.requests.as_mut().unwrap(), "{request}").unwrap();
    }

    /// The next answer; null where the connection ended.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, request: Value) -> Value {
        self.send(&request);
        self.answer()
    }

    /// Asks for what must succeed.
    #[track_caller]
    pub(crate) fn want(&mut self, request: Value, kind: &str) -> Value {
        let answer = self.ask(request.clone());
        assert_eq!(answer["type"], kind, "{request}: {answer}");
        answer
    }

    /// Asks for what must fail, and gives the message.
    #[track_caller]
    pub(crate) fn fails(&mut self, request: Value, code: &str) -> String {
        let answer = self.want(request, "error");
        assert_eq!(answer["code"], code, "{answer}");
        answer["message"].as_str().unwrap().to_string()
    }

    /// The context of a project.
    #[track_caller]
    pub(crate) fn open(&mut self, project: &Project) -> String {
        let answer = self.want(init(project), "context_ready");
        answer["context_id"].as_str().unwrap().to_string()
    }

    /// Goes away at once.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.requests = None;
        if std::thread::panicking() {
            // What it waits for may never come.
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// The request that opens a project.
pub(crate) fn init(project: &Project) -> Value {
    json!({"type": "init_context", "protocol_version": 1, "repo_path": project.path(), "python_path": python()})
}
