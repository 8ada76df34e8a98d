//! A database for each test, copied from a template that is migrated once, whichever process comes first.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "every test program has this module, and none uses all of it"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests: what goes wrong fails them"
)]

pub(crate) mod proxy;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use airouter_store::Store;
use airouter_store_postgres::{OpenMode, PostgresStore};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use uuid::Uuid;

/// The lock that is held while the template is made.
const TEMPLATE_LOCK: i64 = 0x0061_6972_7465_7374;

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A database that is dropped with this.
pub(crate) struct TestDatabase {
    name: String,
}

impl TestDatabase {
    /// A new database with the schema and nothing else.
    pub(crate) async fn new() -> Self {
        let mut server = connect("").await;
        let template = template(&mut server).await;
        Self::create(&mut server, &format!("TEMPLATE {template}")).await
    }

    /// A new database without a schema.
    pub(crate) async fn empty() -> Self {
        Self::create(&mut connect("").await, "").await
    }

    async fn create(server: &mut PgConnection, from: &str) -> Self {
        let name = format!("airouter_test_{}", Uuid::now_v7().simple());
        run(server, &format!("CREATE DATABASE {name} {from}")).await;
        Self { name }
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        url_of(&self.name)
    }

    /// Its address, where the server is reached at `host` (with a port).
    pub(crate) fn url_at(&self, host: &str) -> String {
        let url = self.url();
        let host = format!("{}{host}/", user_of(&url));
        let (scheme, _) = url.split_once("://").unwrap();
        format!("{scheme}://{host}{}", self.name)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A connection for plain SQL.
    pub(crate) async fn sql(&self) -> PgConnection {
        connect(&self.name).await
    }

    /// A store that serves from it.
    pub(crate) async fn serve(&self) -> PostgresStore {
        PostgresStore::open(&self.url(), OpenMode::Serve)
            .await
            .unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // The test's own runtime is busy with dropping this.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                run(&mut connect("").await, &drop).await;
            });
        });
        if thread.join().is_err() && !std::thread::panicking() {
            panic!("the test's database could not be dropped");
        }
    }
}

/// A store of a database of its own, for the suite that every adapter passes.
pub(crate) async fn new_store() -> (Arc<dyn Store>, TestDatabase) {
    let database = TestDatabase::new().await;
    (Arc::new(database.serve().await), database)
}

/// The server that tests may use.
pub(crate) fn server_url() -> String {
    std::env::var("TEST_DATABASE_URL").unwrap_or_else(|_| {
        panic!(
            "TEST_DATABASE_URL is not set: it names a PostgreSQL server on which tests may create databases, \
            as in postgres://postgres@127.0.0.1:5432/postgres; `make test` starts one"
        )
    })
}

/// The address of a database on the server; without a name, of the one that the server's address names.
fn url_of(database: &str) -> String {
    let server = server_url();
    if database.is_empty() {
        return server;
    }
    let (address, parameters) = server.split_once('?').unwrap_or((&server, ""));
    let (scheme, place) = address.split_once("://").unwrap();
    let host = place.split('/').next().unwrap();
    format!("{scheme}://{host}/{database}?{parameters}")
}

/// The host and the port of the server.
pub(crate) fn host() -> String {
    let url = server_url();
    let (_, place) = url.split_once("://").unwrap();
    let authority = place.split(['/', '?']).next().unwrap();
    let host = authority.rsplit('@').next().unwrap();
    match host.rsplit_once(':') {
        Some(_) => host.to_owned(),
        None => format!("{host}:5432"),
    }
}

/// Who connects, with the `@` behind it; empty where the address does not say.
fn user_of(url: &str) -> &str {
    let (_, place) = url.split_once("://").unwrap();
    place.rfind('@').map_or("", |at| &place[..=at])
}

/// Waits until something is so, within a bound.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "it was not so in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn connect(database: &str) -> PgConnection {
    PgConnection::connect(&url_of(database)).await.unwrap()
}

/// Runs plain SQL.
pub(crate) async fn run(connection: &mut PgConnection, sql: &str) {
    connection
        .execute(AssertSqlSafe(sql.to_owned()))
        .await
        .unwrap();
}

/// The template for this schema; made under another name, so that one that is there is whole.
async fn template(server: &mut PgConnection) -> String {
    let name = template_name();
    if exists(server, &name).await {
        return name;
    }
    run(server, &format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await;
    if !exists(server, &name).await {
        let unfinished = format!("{name}_unfinished");
        run(
            server,
            &format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)"),
        )
        .await;
        run(server, &format!("CREATE DATABASE {unfinished}")).await;
        PostgresStore::migrate(&url_of(&unfinished)).await.unwrap();
        run(
            server,
            &format!("ALTER DATABASE {unfinished} RENAME TO {name}"),
        )
        .await;
    }
    run(
        server,
        &format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})"),
    )
    .await;
    name
}

/// Named after the migrations, so that a changed one has a template of its own.
fn template_name() -> String {
    let mut all = DefaultHasher::new();
    for migration in sqlx::migrate!("../../migrations/postgres").iter() {
        migration.checksum.hash(&mut all);
    }
    format!("airouter_template_{:016x}", all.finish())
}

async fn exists(server: &mut PgConnection, name: &str) -> bool {
    sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)")
        .bind(name)
        .fetch_one(server)
        .await
        .unwrap()
}
