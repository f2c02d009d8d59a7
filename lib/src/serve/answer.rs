//! Owns what each request does. Knows no bytes.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::context::{Context, Identity, Mode, elapsed_ms, not_found};
use super::protocol::{
    Code, DaemonStatus, Failure, FixtureConfig, InitContext, Node, Request, RerunConfig, Response, RunRequest, VERSION,
    shortened,
};
use super::runs::{Run, Runs};
use super::statistics::{self, Cut};
use super::{memory_kb, unpoisoned};
use crate::link::Wanted;
use crate::location::Location;
use crate::python::{self, find_python_with};
use crate::server::{Place, private_folder};

/// The most workers that can be asked for, as for rpt-run.
const MOST_WORKERS: u32 = 1024;

/// More reruns of a test than anybody waits for, and a longer pause.
const MOST_RERUNS: u32 = 1000;
const LONGEST_DELAY_MS: u32 = 3_600_000;

/// Longer than anybody keeps a fixture, in seconds: a week.
const OLDEST_FIXTURE_S: f64 = 604_800.0;

/// So many contexts are kept that nobody asked for by name: shells differ in their variables.
const MOST_AUTOMATIC: usize = 8;

/// So many contexts are kept: each may hold an interpreter.
const MOST_CONTEXTS: usize = 64;

/// What all connections share.
pub(crate) struct Shared {
    contexts: Mutex<HashMap<String, Arc<Context>>>,
    pub runs: Arc<Runs>,
    pub connections: AtomicU64,
    pub stopping: AtomicBool,
    began: Instant,
}

/// Whose request it is.
pub(crate) struct Client<'a> {
    /// The variables it was started with; this process's where the system does not say.
    pub environment: &'a dyn Fn() -> Vec<(OsString, OsString)>,
    /// What relative paths are relative to.
    pub folder: PathBuf,
    /// Whether it went away.
    pub gone: &'a dyn Fn() -> bool,
    /// Runs that it began and may not have seen the end of.
    pub streamed: &'a Mutex<Vec<Arc<Run>>>,
    /// Where the runs are remembered that it makes with a server that it was given.
    pub remembers: &'a Mutex<Option<Location>>,
}

impl Shared {
    pub(crate) fn new() -> Shared {
        // A run may use all processors: two at a time overlap set-up and tear-down.
        let at_a_time = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
        Shared {
            contexts: Mutex::default(),
            runs: Arc::new(Runs::new(at_a_time)),
            connections: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            began: Instant::now(),
        }
    }

    /// Does what is asked. Whether the daemon is to end is in `stopping`.
    pub(crate) fn answer(&self, request: Request, client: &Client) -> Response {
        self.try_answer(request, client).unwrap_or_else(Response::Error)
    }

    fn try_answer(&self, request: Request, client: &Client) -> Result<Response, Failure> {
        Ok(match request {
            Request::Ping => Response::Pong,
            Request::Status => Response::DaemonStatus(Box::new(self.status())),
            Request::InitContext(asked) => self.init_context(asked, client)?,
            Request::Collect { context_id, force } => {
                let began = Instant::now();
                let node_count = self.context(&context_id)?.collect(force)?;
                Response::CollectionComplete { node_count, duration_ms: elapsed_ms(began) }
            }
            Request::List { context_id, keyword, marker } => {
                Response::TestList { node_ids: self.context(&context_id)?.select(keyword, marker)? }
            }
            Request::GetInventory { context_id } => {
                let (view, tests) = self.context(&context_id)?.tests()?;
                let nodes = tests.into_iter().map(|test| Node {
                    node_id: test.node_id,
                    file_path: test.file_path,
                    lineno: test.lineno,
                    name: test.name,
                    class_name: test.class_name,
                    markers: test.markers,
                    skip: test.skip,
                    xfail: test.xfail,
                });
                Response::InventoryData { hash: view.hash, collected_at: view.collected_at, nodes: nodes.collect() }
            }
            Request::Run(asked) => {
                let run = self.start(asked, None, false)?;
                Response::RunComplete(self.runs.wait(&run, client.gone)?)
            }
            Request::RunStream(asked) => {
                let total = match &asked.node_ids {
                    ids if ids.is_empty() => Some(self.context(&asked.context_id)?.view()?.node_count),
                    _ => None,
                };
                let run = self.start(asked, total, false)?;
                let total_tests = run.progress(Some(u64::MAX)).total;
                let mut streamed = unpoisoned(client.streamed);
                streamed.retain(|run| !run.is_done());
                streamed.push(Arc::clone(&run));
                Response::RunStarted { run_id: run.id.clone(), total_tests }
            }
            Request::GetRunProgress { context_id, run_id, since } => {
                self.context(&context_id)?;
                let progress = self.runs.find(&context_id, &run_id)?.progress(since);
                if let (Some(failure), true) = (progress.failure, progress.results.is_empty()) {
                    // What it has told before stays told.
                    return Err(failure);
                }
                Response::RunProgress {
                    run_id,
                    total: progress.total,
                    completed: progress.completed,
                    running: progress.running,
                    done: progress.done,
                    results: progress.results,
                }
            }
            Request::Lease { folder, python, options, place: digest, wanted } => {
                let place = Place { folder: folder.into(), environment: (client.environment)() };
                let variables = place.environment.iter().cloned();
                let own = python::Context::new(&place.folder, Path::new(&python), &options, variables);
                let nothing = Response::Leased { server: None, listing: false };
                if own.place != digest {
                    // It is not known what the client's environment is.
                    return Ok(nothing);
                }
                let identity = Identity { place, python: python.into(), mode: Mode::Auto, options };
                let context = self.open(identity, true)?;
                if !context.was_warm() {
                    // Who asks is sooner done alone, and the next one finds it warm.
                    std::thread::spawn(move || context.warm_again());
                    return Ok(nothing);
                }
                match wanted {
                    Wanted::Server => {
                        let (server, view) = context.lease(&[])?;
                        *unpoisoned(client.remembers) = Some(context.store_at(Some(&view.rootdir)));
                        Response::Leased { server, listing: false }
                    }
                    Wanted::Listing => Response::Leased { server: None, listing: context.is_listed() },
                }
            }
            Request::RunWithRerun(asked) => {
                let run = self.start(asked, None, true)?;
                Response::RunComplete(self.runs.wait(&run, client.gone)?)
            }
            Request::ConfigureRerun { context_id, enabled, max_reruns, only_flaky, delay_ms } => {
                let config = RerunConfig { enabled, max_reruns, only_flaky, delay_ms };
                if max_reruns > MOST_RERUNS || delay_ms > LONGEST_DELAY_MS {
                    return Err(Failure::invalid(format!(
                        "at most {MOST_RERUNS} reruns, each after at most {LONGEST_DELAY_MS} ms"
                    )));
                }
                *unpoisoned(&self.context(&context_id)?.rerun) = config;
                acknowledged("rerun", &config)?
            }
            Request::GetRerunConfig { context_id } => {
                Response::RerunConfig(*unpoisoned(&self.context(&context_id)?.rerun))
            }
            Request::ConfigureFixtureReuse {
                context_id,
                enabled,
                max_age_seconds,
                teardown_on_conftest_change,
                teardown_on_test_file_change,
            } => {
                if !(max_age_seconds > 0.0 && max_age_seconds <= OLDEST_FIXTURE_S) {
                    return Err(Failure::invalid(format!(
                        "max_age_seconds is more than 0 and at most {OLDEST_FIXTURE_S}"
                    )));
                }
                let config = FixtureConfig {
                    enabled,
                    max_fixture_age_seconds: max_age_seconds,
                    teardown_on_conftest_change,
                    teardown_on_test_file_change,
                    ..FixtureConfig::default()
                };
                self.context(&context_id)?.fixtures.configure(config.clone());
                acknowledged("fixture_reuse", &config)?
            }
            Request::GetFixtureConfig { context_id } => {
                Response::FixtureConfig(self.context(&context_id)?.fixtures.config())
            }
            Request::GetSessionStatus { context_id } => {
                let context = self.context(&context_id)?;
                let repo_path = context.identity.place.folder.display().to_string();
                Response::SessionStatus(context.fixtures.status(repo_path))
            }
            Request::GetFlakinessReport { context_id } => {
                statistics::flakiness_report(&self.context(&context_id)?.store())?
            }
            Request::GetTestFlakiness { context_id, node_id } => {
                statistics::test_flakiness(&self.context(&context_id)?.store(), &node_id)?
            }
            Request::GetShard { context_id, node_ids, shard_index, total_shards, strategy } => {
                let context = self.context(&context_id)?;
                let (_, tests) = context.tests()?;
                let cut = Cut { node_ids, total_shards, strategy };
                statistics::shard(&tests, &cut, shard_index, &context.store())?
            }
            Request::GetShardInfo { context_id, node_ids, total_shards, strategy } => {
                let context = self.context(&context_id)?;
                let (_, tests) = context.tests()?;
                statistics::shard_info(&tests, &Cut { node_ids, total_shards, strategy }, &context.store())?
            }
            Request::GetWorkerStatus { context_id } => self.worker_status(&*self.context(&context_id)?),
            Request::ConfigureWorkers { context_id, num_workers } => {
                let num_workers = workers(num_workers)?;
                *unpoisoned(&self.context(&context_id)?.workers) = num_workers;
                Response::WorkerConfigAck { num_workers: pool(num_workers) }
            }
            Request::Shutdown { context_id: Some(id) } => {
                let context = unpoisoned(&self.contexts).remove(&id).ok_or_else(|| not_found(&id))?;
                self.runs.cancel_all(Some(&id));
                context.close();
                Response::ShutdownAck
            }
            Request::Shutdown { context_id: None } => {
                self.stopping.store(true, Ordering::Release);
                Response::ShutdownAck
            }
        })
    }

    fn context(&self, id: &str) -> Result<Arc<Context>, Failure> {
        unpoisoned(&self.contexts).get(id).cloned().ok_or_else(|| not_found(id))
    }

    fn init_context(&self, asked: InitContext, client: &Client) -> Result<Response, Failure> {
        if asked.protocol_version != VERSION {
            let message = format!("this daemon speaks version {VERSION}, not {}", asked.protocol_version);
            return Err(Failure::new(Code::VersionMismatch, message));
        }
        let mode = Mode::of(asked.execution_mode.as_deref()).ok_or_else(|| {
            let name = shortened(asked.execution_mode.as_deref().unwrap_or_default());
            Failure::invalid(format!("{name:?} is no execution mode: embedded, subprocess or auto"))
        })?;
        let shown = shortened(&asked.repo_path);
        let folder = client.folder.join(&asked.repo_path);
        let folder = folder.canonicalize().map_err(|error| Failure::invalid(format!("{shown}: {error}")))?;
        if !folder.is_dir() {
            return Err(Failure::invalid(format!("{shown}: not a folder")));
        }
        let environment = match asked.environment {
            Some(environment) => environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            None => (client.environment)(),
        };
        if environment.iter().any(|(name, value)| is_unusable(name) || value.to_string_lossy().contains('\0')) {
            return Err(Failure::invalid("the environment holds a name that no variable can have"));
        }
        let place = Place { folder, environment };
        let named = asked.python_path.as_deref().map(Path::new);
        let python = find_python_with(named, &place.folder, |name| place.variable(name)).map_err(|error| {
            Failure::new(Code::PythonNotFound, error.to_string().replace("--python", "python_path"))
        })?;
        let identity = Identity { place, python, mode, options: asked.pytest_args.unwrap_or_default() };
        let context = self.open(identity, false)?;
        Ok(Response::ContextReady {
            protocol_version: VERSION,
            context_id: context.id.clone(),
            inventory_hash: context.known_hash(),
        })
    }

    /// The context of that identity: the one there is, or a new one. `automatic`: nobody
    /// asked for it by name, so that it makes room for others when it was not used for longest.
    fn open(&self, identity: Identity, automatic: bool) -> Result<Arc<Context>, Failure> {
        let id = identity.digest();
        let mut contexts = unpoisoned(&self.contexts);
        if let Some(known) = contexts.get(&id) {
            known.is_used_by(automatic);
            return Ok(Arc::clone(known));
        }
        let unnamed = contexts.values().filter(|context| context.is_automatic());
        let unnamed: Vec<_> = unnamed.map(|context| (context.used_at(), context.id.clone())).collect();
        if automatic
            && unnamed.len() >= MOST_AUTOMATIC
            && let Some((_, oldest)) = unnamed.into_iter().min()
            && let Some(oldest) = contexts.remove(&oldest)
        {
            oldest.close();
        }
        if contexts.len() >= MOST_CONTEXTS {
            return Err(Failure::invalid(format!("{MOST_CONTEXTS} contexts are open; shutdown ends one")));
        }
        let sockets = private_folder().ok_or_else(|| {
            Failure::internal("no folder for sockets is this user's alone: XDG_RUNTIME_DIR or TMPDIR says where")
        })?;
        let sockets = sockets.join(format!("warm-{}-{}", std::process::id(), &id[..8]));
        let context = Context::new(id.clone(), identity, sockets, automatic);
        contexts.insert(id, Arc::clone(&context));
        Ok(context)
    }

    /// Begins a run. `again`: under the rerun configuration, where that is enabled.
    fn start(&self, mut asked: RunRequest, total: Option<u64>, again: bool) -> Result<Arc<Run>, Failure> {
        let context = self.context(&asked.context_id)?;
        asked.workers = asked.workers.map(workers).transpose()?;
        let total = total.unwrap_or_else(|| {
            let named: std::collections::HashSet<&String> = asked.node_ids.iter().collect();
            named.len() as u64
        });
        let reruns = Some(*unpoisoned(&context.rerun)).filter(|config| again && config.enabled);
        self.runs.start(&context, asked, reruns, total)
    }

    fn worker_status(&self, context: &Context) -> Response {
        let executed = context.executed.0.load(Ordering::Relaxed);
        let took_us = context.executed.1.load(Ordering::Relaxed);
        let active = self.runs.active_workers(&context.id);
        Response::WorkerStatus {
            active_workers: active,
            idle_workers: pool(*unpoisoned(&context.workers)).saturating_sub(active),
            tests_executed: executed,
            avg_test_duration_ms: took_us.checked_div(executed).unwrap_or(0) / 1000,
        }
    }

    fn status(&self) -> DaemonStatus {
        let contexts: Vec<Arc<Context>> = unpoisoned(&self.contexts).values().cloned().collect();
        let mut contexts: Vec<_> = contexts.iter().map(|context| context.status()).collect();
        contexts.sort_by(|a, b| (&a.repo_path, &a.context_id).cmp(&(&b.repo_path, &b.context_id)));
        DaemonStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: self.began.elapsed().as_secs(),
            connections: self.connections.load(Ordering::Relaxed),
            runs: self.runs.unfinished(),
            memory_kb: memory_kb(std::process::id()),
            contexts,
        }
    }

    /// Ends everything: runs first, then what they ran on.
    pub(crate) fn close(&self) {
        self.stopping.store(true, Ordering::Release);
        self.runs.cancel_all(None);
        let contexts: Vec<_> = unpoisoned(&self.contexts).drain().map(|(_, context)| context).collect();
        contexts.iter().for_each(|context| context.close());
    }
}

/// The answer to a configuration.
fn acknowledged(config_type: &'static str, config: &impl serde::Serialize) -> Result<Response, Failure> {
    let config = serde_json::to_value(config).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(Response::ConfigAck { config_type, config })
}

fn is_unusable(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    name.is_empty() || name.contains(['=', '\0'])
}

fn workers(asked: u32) -> Result<u32, Failure> {
    if asked > MOST_WORKERS {
        return Err(Failure::invalid(format!(
            "{asked} workers: at most {MOST_WORKERS}, or 0 for as many as processors"
        )));
    }
    Ok(asked)
}

/// How many workers a pool of that size has.
fn pool(size: u32) -> u32 {
    match size {
        0 => std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        size => size,
    }
}
