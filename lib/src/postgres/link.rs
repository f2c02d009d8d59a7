//! Owns one connection to a server: making it, and waiting for its answers, never longer than a limit.
//! Knows no tables.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::config::{ChannelBinding, Config, SslMode as Ssl, TargetSessionAttrs};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Row, SimpleQueryMessage, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::fault::{ServerFault, told};
use super::settings::{Settings, SslMode, Surroundings, read_secret};
use super::tls;
use crate::location::ServerUrl;

/// How long a server may say nothing.
const SILENCE: Duration = Duration::from_secs(20);

/// What each connection is told at first: the tables' schema, and how long to wait for another's lock.
const BEGIN: &str = "SET search_path = rpt; SET lock_timeout = '5s'; SET client_min_messages = warning";

/// A value of a statement.
pub(crate) type Value<'a> = &'a (dyn ToSql + Sync);

/// One connection.
pub(crate) struct Link {
    client: Client,
    runtime: Runtime,
    prepared: RefCell<HashMap<&'static str, Statement>>,
}

impl Link {
    /// Connects.
    pub(crate) fn open(url: &ServerUrl) -> Result<Link, ServerFault> {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name);
        let around = Surroundings {
            variable: &|name| std::env::var(name).ok(),
            read: &|path| std::fs::read_to_string(path),
            read_secret: &read_secret,
            exists: &Path::exists,
            user: user.as_deref().unwrap_or("postgres"),
        };
        let settings = url.settings().and_then(|given| Settings::resolve(given, &around));
        let settings = settings.map_err(ServerFault::Setting)?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ServerFault::Away(error.to_string()))?;
        let client = runtime.block_on(connect(&settings))?;
        let link = Link { client, runtime, prepared: RefCell::default() };
        link.wait(link.client.batch_execute(BEGIN))?;
        Ok(link)
    }

    /// Whether it still works: it may have been idle for long.
    pub(crate) fn is_alive(&self) -> bool {
        !self.client.is_closed() && self.wait(self.client.simple_query("")).is_ok()
    }

    /// Statements without values or answers.
    pub(crate) fn execute(&self, sql: &str) -> Result<(), ServerFault> {
        self.wait(self.client.batch_execute(sql))
    }

    /// The one value of a statement's one row: a single journey, nothing is prepared for it.
    pub(crate) fn value(&self, sql: &str) -> Result<Option<String>, ServerFault> {
        let messages = self.wait(self.client.simple_query(sql))?;
        Ok(messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_string),
            _ => None,
        }))
    }

    /// Statements, however long they take.
    pub(crate) fn execute_slowly(&self, sql: &str) -> Result<(), ServerFault> {
        self.runtime.block_on(self.client.batch_execute(sql)).map_err(ServerFault::Sql)
    }

    /// All rows of an answer.
    pub(crate) fn query(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, ServerFault> {
        let statement = self.statement(sql)?;
        self.wait(self.client.query(&statement, values))
    }

    /// How many rows a statement changed.
    pub(crate) fn change(&self, sql: &'static str, values: &[Value]) -> Result<u64, ServerFault> {
        let statement = self.statement(sql)?;
        self.wait(self.client.execute(&statement, values))
    }

    /// Hands on each row of an answer as it comes. `see` asks nothing of this connection.
    pub(crate) fn each<E>(
        &self,
        sql: &'static str,
        values: &[Value],
        see: &mut dyn FnMut(&Row) -> Result<ControlFlow<()>, E>,
    ) -> Result<Result<(), E>, ServerFault> {
        let statement = self.statement(sql)?;
        self.runtime.block_on(async {
            let rows = limited(self.client.query_raw(&statement, values.iter().copied())).await?;
            let mut rows = pin!(rows);
            while let Some(row) = limited(rows.try_next()).await? {
                match see(&row) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => break,
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Ok(()))
        })
    }

    /// Sends many rows at once, as COPY does.
    pub(crate) fn copy<'a>(
        &self,
        sql: &'static str,
        types: &[Type],
        rows: impl Iterator<Item = Vec<Value<'a>>>,
    ) -> Result<(), ServerFault> {
        let statement = self.statement(sql)?;
        self.runtime.block_on(async {
            let sink = limited(self.client.copy_in::<_, Bytes>(&statement)).await?;
            let mut writer = pin!(BinaryCopyInWriter::new(sink, types));
            for row in rows {
                limited(writer.as_mut().write(&row)).await?;
            }
            limited(writer.finish()).await.map(drop)
        })
    }

    fn statement(&self, sql: &'static str) -> Result<Statement, ServerFault> {
        if let Some(statement) = self.prepared.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.wait(self.client.prepare(sql))?;
        self.prepared.borrow_mut().insert(sql, statement.clone());
        Ok(statement)
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, ServerFault> {
        self.runtime.block_on(limited(answer))
    }
}

async fn limited<T>(answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, ServerFault> {
    match tokio::time::timeout(SILENCE, answer).await {
        Ok(answer) => answer.map_err(ServerFault::Sql),
        Err(_) => Err(ServerFault::Silent(SILENCE)),
    }
}

/// Tries the hosts one after another, each no longer than the limit.
async fn connect(settings: &Settings) -> Result<Client, ServerFault> {
    let mut fault = ServerFault::Setting("it names no host".to_string());
    for at in 0..settings.hosts.len() {
        let attempt = connect_to(settings, at);
        let connected = match settings.connect_timeout {
            None => attempt.await,
            Some(limit) => tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| {
                let seconds = limit.as_secs();
                Err(ServerFault::Away(format!("no answer within {seconds} s (PGCONNECT_TIMEOUT)")))
            }),
        };
        match connected {
            Ok(client) => return Ok(client),
            Err(error) => fault = error,
        }
    }
    Err(fault)
}

async fn connect_to(settings: &Settings, at: usize) -> Result<Client, ServerFault> {
    let (host, port) = &settings.hosts[at];
    let mut config = Config::new();
    config
        .host(host)
        .port(*port)
        .user(&settings.user)
        .dbname(&settings.database)
        .application_name(&settings.application_name)
        // A peer that is gone without a word is noticed.
        .tcp_user_timeout(SILENCE)
        .keepalives_idle(SILENCE)
        .ssl_mode(match settings.sslmode {
            SslMode::Disable => Ssl::Disable,
            SslMode::Prefer => Ssl::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Ssl::Require,
        });
    if let Some(address) = settings.addresses.get(at) {
        config.hostaddr(*address);
    }
    if let Some(Some(password)) = settings.passwords.get(at) {
        config.password(password);
    }
    if let Some(options) = &settings.options {
        config.options(options);
    }
    if settings.writable {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    match settings.channel_binding.as_deref() {
        Some("disable") => drop(config.channel_binding(ChannelBinding::Disable)),
        Some("require") => drop(config.channel_binding(ChannelBinding::Require)),
        _ => {}
    }
    let away = |error: tokio_postgres::Error| ServerFault::Away(told(&error));
    // It ends when the client is gone; what went wrong the statement that waits is told. As libpq does:
    // a socket of this machine needs no TLS, whatever sslmode says.
    if host.starts_with('/') || settings.sslmode == SslMode::Disable {
        let (client, connection) = config.ssl_mode(Ssl::Disable).connect(NoTls).await.map_err(away)?;
        tokio::spawn(connection);
        return Ok(client);
    }
    let tls = MakeRustlsConnect::new(tls::configure(settings).map_err(ServerFault::Setting)?);
    let (client, connection) = config.connect(tls).await.map_err(away)?;
    tokio::spawn(connection);
    Ok(client)
}
