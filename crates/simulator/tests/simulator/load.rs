//! The load generator counts as whole what is whole; the bare proxy changes nothing.

use std::{collections::HashSet, net::SocketAddr, num::NonZeroU32, time::Duration};

use crate::support::{Sim, directed, hello, send};
use airouter_simulator::{
    DEFAULT_MASTER_KEY, Picodollars, Simulator, SimulatorConfig, bare,
    load::{self, LoadConfig, LoadLimit, LoadReport, StreamMode, WholeAnswers},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn config(target: SocketAddr, body: &Value) -> LoadConfig {
    LoadConfig {
        target,
        path: "/api/v1/chat/completions".to_owned(),
        key: DEFAULT_MASTER_KEY.to_owned(),
        connections: 8,
        limit: LoadLimit::Requests(200),
        body: body.to_string(),
        stream: StreamMode::Alternating,
        rate: None,
        whole_answers: WholeAnswers::Keep,
        request_timeout: Duration::from_secs(10),
        stop: CancellationToken::new(),
    }
}

fn sum(report: &LoadReport) -> Picodollars {
    let costs = report.answers.iter().map(|answer| answer.cost.as_deref());
    costs
        .map(|cost| Picodollars::parse(cost.unwrap()).unwrap())
        .sum()
}

#[tokio::test]
async fn whole_answers_add_up_to_the_books() {
    let sim = Sim::start().await;
    let report = load::run(config(sim.0.address(), &hello("sim/small")))
        .await
        .unwrap();
    assert_eq!((report.requests, report.whole), (200, 200));
    assert_eq!(report.by_status[&200], 200);
    assert!(report.errors.is_empty());
    let ids: HashSet<&str> = report.answers.iter().map(|a| a.id.as_str()).collect();
    assert_eq!(ids.len(), 200);
    assert_eq!(report.answers.iter().filter(|a| a.streamed).count(), 100);
    assert_eq!(sum(&report), sim.0.billed());
    assert!(report.last_byte_us.max >= report.first_byte_us.p50);
    sim.0.shutdown().await;
}

#[tokio::test]
async fn failures_are_told_apart_and_never_whole() {
    let sim = Sim::start().await;
    for (error, name) in [
        (json!("reset"), "send"),
        (json!({ "kind": "reset", "after": 2 }), "body"),
        (json!("in_200"), "error_in_200"),
        (json!("empty"), "incomplete"),
    ] {
        let mut config = config(
            sim.0.address(),
            &directed_without_stream(json!({ "error": error })),
        );
        config.limit = LoadLimit::Requests(20);
        let report = load::run(config).await.unwrap();
        assert_eq!((report.requests, report.whole), (20, 0), "{name}");
        assert_eq!(report.errors.get(name), Some(&20), "{:?}", report.errors);
    }
    let refused = directed_without_stream(json!({ "error": "status:402" }));
    let report = load::run(config(sim.0.address(), &refused)).await.unwrap();
    assert_eq!(report.by_status[&402], 200);
    assert_eq!(report.whole, 0);
    sim.0.shutdown().await;
}

fn directed_without_stream(directives: Value) -> Value {
    let mut body = hello("sim/small");
    body["x_sim"] = directives;
    body
}

#[tokio::test]
async fn it_survives_a_restart_of_its_target() {
    let sim = Sim::start().await;
    let address = sim.0.address();
    let mut config = config(address, &directed_without_stream(json!({ "chunk_ms": 2 })));
    config.limit = LoadLimit::UntilStopped;
    let stop = config.stop.clone();
    let mut loading = tokio::task::JoinSet::new();
    loading.spawn(load::run(config));
    wait_for_requests(&sim, 20).await;
    sim.0.shutdown().await;
    let again = SimulatorConfig {
        listen: address,
        ..SimulatorConfig::default()
    };
    let sim = Sim(Simulator::start(again).await.unwrap());
    wait_for_requests(&sim, 20).await;
    stop.cancel();
    let report = loading.join_next().await.unwrap().unwrap().unwrap();
    assert!(report.whole >= 20, "{report:?}");
    assert!(report.requests >= report.whole);
    sim.0.shutdown().await;
}

async fn wait_for_requests(sim: &Sim, count: u64) {
    while sim.books().await["requests"].as_u64().unwrap() < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_rate_spaces_requests_and_answers_go_to_a_file() {
    let sim = Sim::start().await;
    let file = std::env::temp_dir().join(format!("airouter-load-{}.jsonl", std::process::id()));
    let mut config = config(sim.0.address(), &hello("sim/small"));
    config.limit = LoadLimit::Requests(50);
    config.rate = NonZeroU32::new(250);
    config.whole_answers = WholeAnswers::Write(file.clone());
    let report = load::run(config).await.unwrap();
    assert!(report.elapsed_us >= 49 * 4000, "{}", report.elapsed_us);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 50);
    assert!(lines.iter().all(|line| line["cost"] == "0.00001095"));
    sim.0.shutdown().await;
}

#[tokio::test]
async fn the_bare_proxy_passes_everything_on() {
    let sim = Sim::start().await;
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = bare::start(listen, sim.0.address()).await.unwrap();
    let body = directed("sim/small", true, json!({ "chunk_ms": 1, "cut": 7 }));
    let reply = send(proxy.address(), Sim::chat_request(&body))
        .await
        .unwrap();
    assert!(reply.done());
    assert!(reply.headers.contains_key("x-generation-id"));
    let report = load::run(config(proxy.address(), &hello("sim/small")))
        .await
        .unwrap();
    assert_eq!(report.whole, 200);
    proxy.shutdown().await;
    sim.0.shutdown().await;
}

#[tokio::test]
async fn many_streams_at_once() {
    let sim = Sim::start().await;
    let directives = json!({ "chunk_ms": 5, "completion_tokens": 20 });
    let mut config = config(sim.0.address(), &directed_without_stream(directives));
    config.connections = 400;
    config.limit = LoadLimit::Requests(400);
    config.stream = StreamMode::Streamed;
    let report = load::run(config).await.unwrap();
    assert_eq!(report.whole, 400, "{report:?}");
    sim.0.shutdown().await;
}
