//! Owns what a collection is asked for, as far as it decides which one it is: folder,
//! interpreter, arguments and environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::cli::PytestArgs;
use crate::inventory::store::{Key, possible_roots};
use crate::python::{Context, environment_digests, find_python};
use crate::server::Place;

/// One question.
pub(crate) struct Question<'a> {
    /// As it was asked.
    pub pytest: &'a PytestArgs,
    /// Where.
    pub cwd: PathBuf,
    /// The interpreter.
    pub python: PathBuf,
    /// All of pytest's arguments.
    pub args: Vec<String>,
    /// By variable, a digest of its value.
    pub environment: BTreeMap<String, String>,
    /// What a snapshot of it is found by.
    pub key: Key,
    /// What a waiting server is found by.
    pub context: Context,
    /// Where snapshots may lie.
    pub roots: Vec<PathBuf>,
    /// Whose question it is, where it is not this process's.
    pub place: Option<&'a Place>,
    /// `PYTHONHASHSEED`, empty where it is not set.
    pub seed: String,
}

impl<'a> Question<'a> {
    /// What is asked in the current folder and environment.
    pub(crate) fn new(pytest: &'a PytestArgs) -> anyhow::Result<Question<'a>> {
        let cwd = std::env::current_dir().context("cannot read the current folder")?;
        let python = find_python(pytest.python.as_deref(), &cwd).map_err(crate::cli::as_usage)?;
        let args = pytest.collection_args();
        let environment = environment_digests(std::env::vars_os());
        Ok(Question {
            key: Key::new(&cwd, &python, &args, &environment),
            context: Context::new(&cwd, &python, &pytest.context_args(), std::env::vars_os()),
            roots: possible_roots(pytest.rootdir.as_deref(), &pytest.paths, &cwd),
            pytest,
            cwd,
            python,
            args,
            environment,
            place: None,
            seed: std::env::var("PYTHONHASHSEED").unwrap_or_default(),
        })
    }

    /// What is asked in another folder and environment.
    pub(crate) fn elsewhere(pytest: &'a PytestArgs, python: PathBuf, place: &'a Place) -> Question<'a> {
        let cwd = place.folder.clone();
        let args = pytest.collection_args();
        let environment = environment_digests(place.environment.iter().cloned());
        let variables = place.environment.iter().cloned();
        Question {
            key: Key::new(&cwd, &python, &args, &environment),
            context: Context::new(&cwd, &python, &pytest.context_args(), variables),
            roots: possible_roots(pytest.rootdir.as_deref(), &pytest.paths, &cwd),
            seed: place.variable("PYTHONHASHSEED").unwrap_or_default().to_string_lossy().into_owned(),
            pytest,
            cwd,
            python,
            args,
            environment,
            place: Some(place),
        }
    }
}
