//! As a compatible server it speaks OpenAI's API and nothing of OpenRouter's.

use airouter_simulator::{DEFAULT_MASTER_KEY, SimulatorConfig, Speaks};
use serde_json::{Value, json};

use crate::support::{Reply, Sim, hello};

async fn start(keys: &[&str]) -> Sim {
    Sim::with(SimulatorConfig {
        speaks: Speaks::Compatible,
        master_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..SimulatorConfig::default()
    })
    .await
}

async fn ask(sim: &Sim, body: Value) -> Reply {
    sim.call("POST", "/v1/chat/completions", DEFAULT_MASTER_KEY, body)
        .await
}

#[tokio::test]
async fn an_answer_has_tokens_and_no_costs() {
    let sim = start(&[DEFAULT_MASTER_KEY]).await;
    let reply = ask(&sim, hello("gpt-sim-small")).await;
    assert_eq!(reply.status, 200);
    assert!(reply.headers.get("x-generation-id").is_none());
    let body = reply.json();
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(body["usage"]["completion_tokens"], 16);
    for absent in ["provider", "native_finish_reason", "cost", "is_byok"] {
        assert!(!reply.text().contains(absent), "{absent}");
    }
    // 9 × 120,000 + 16 × 500,000 picodollars, which it bills all the same.
    assert_eq!(sim.0.billed().get(), 9 * 120_000 + 16 * 500_000);
    sim.0.shutdown().await;
}

#[tokio::test]
async fn a_stream_tells_its_usage_only_if_it_is_asked() {
    let sim = start(&[DEFAULT_MASTER_KEY]).await;
    let mut body = hello("gpt-sim-small");
    body["stream"] = json!(true);
    let reply = ask(&sim, body.clone()).await;
    assert!(reply.done() && !reply.text().contains("usage"));
    body["stream_options"] = json!({ "include_usage": true });
    let events = ask(&sim, body).await.events();
    let last = events.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 16);
    sim.0.shutdown().await;
}

#[tokio::test]
async fn what_it_does_not_know_is_refused() {
    let sim = start(&[DEFAULT_MASTER_KEY]).await;
    for (name, value) in [
        ("provider", json!({})),
        ("plugins", json!([])),
        ("usage", json!({ "include": true })),
        (
            "messages",
            json!([{"role": "user", "content": "hi", "reasoning": "r"}]),
        ),
    ] {
        let mut body = hello("gpt-sim-small");
        body[name] = value;
        let reply = ask(&sim, body).await;
        assert_eq!(reply.status, 400, "{name}");
        assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
    }
    let mut body = hello("gpt-sim-reasoning");
    body["max_tokens"] = json!(5);
    assert_eq!(ask(&sim, body).await.status, 400);
    let unknown = ask(&sim, hello("sim/small")).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["error"]["code"], "model_not_found");
    assert_eq!(sim.0.billed().get(), 0);
    sim.0.shutdown().await;
}
