//! A database for one run, beside the one that `DATABASE_URL` names, and dropped at its end.
//!
//! Its name is ours alone (`rollcall_demo_` and hexadecimal digits), so it can stand in a statement unquoted, and dropping it
//! can hit nothing else.

use std::time::Duration;

use secrecy::SecretString;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

use super::{Error, connect};

/// How long the server may take to answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A database that was created, and has yet to be dropped.
#[derive(Debug)]
pub struct Scratch {
    server: PgConnectOptions,
    name: String,
}

impl Scratch {
    /// Creates a database on the server of `url`, whose user must be allowed to.
    ///
    /// # Errors
    /// `Unavailable` if the server cannot be reached, `Refused` if the user may not create databases.
    pub async fn create(url: &SecretString) -> Result<Self, Error> {
        let server = connect::read(url)?.0.application_name("rollcall demo");
        let name = format!("rollcall_demo_{:08x}", fastrand::u32(..));
        let scratch = Self { server, name };
        scratch.tell_server(format!("create database {}", scratch.name)).await?;
        Ok(scratch)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL to connect to it with.
    pub fn url(&self) -> SecretString {
        self.server.clone().database(&self.name).to_url_lossy().to_string().into()
    }

    /// Drops it, whoever is still connected.
    ///
    /// # Errors
    /// The server's.
    pub async fn remove(self) -> Result<(), Error> {
        self.tell_server(format!("drop database if exists {} with (force)", self.name)).await
    }

    async fn tell_server(&self, statement: String) -> Result<(), Error> {
        let connecting = timeout(CONNECT_LIMIT, PgConnection::connect_with(&self.server));
        let mut server = connecting.await.map_err(|_| Error::Unavailable(sqlx::Error::PoolTimedOut))??;
        sqlx::query(AssertSqlSafe(statement)).execute(&mut server).await?;
        server.close().await?;
        Ok(())
    }
}
