//! The books are exact, also of what is cancelled, cut or failed.

use crate::support::{Sim, directed, hello, number_text, open, send};
use airouter_simulator::{DEFAULT_MASTER_KEY, Picodollars, SimulatorConfig};
use serde_json::{Value, json};

fn picodollars(row: &Value) -> u128 {
    row["cost_picodollars"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_kind_of_token_has_its_price() {
    let sim = Sim::start().await;
    let directives = json!({ "prompt_tokens": 1000, "cached_tokens": 600, "cache_write_tokens": 300,
        "completion_tokens": 50, "reasoning_tokens": 20 });
    let reply = sim.chat(directed("sim/large", false, directives)).await;
    let expected: u128 = 100 * 3_000_000 + 600 * 300_000 + 300 * 3_750_000 + 50 * 15_000_000;
    assert_eq!(sim.0.billed(), Picodollars::new(expected));
    let printed = Picodollars::parse(number_text(&reply.text(), "cost")).unwrap();
    assert_eq!(printed.get(), expected);
    let usage = &reply.json()["usage"];
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 600);
    assert_eq!(usage["prompt_tokens_details"]["cache_write_tokens"], 300);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 20);
    let books = sim.books().await;
    assert_eq!(books["total_picodollars"], expected.to_string());
    assert_eq!(
        books["by_key"][DEFAULT_MASTER_KEY]["picodollars"],
        expected.to_string()
    );
    sim.0.shutdown().await;
}

#[tokio::test]
async fn requests_images_and_searches_are_charged() {
    let sim = Sim::start().await;
    let cost = async |body: Value| {
        assert_eq!(sim.chat(body).await.status, 200);
        picodollars(sim.generations().await.last().unwrap())
    };
    let tokens = json!({ "prompt_tokens": 10, "completion_tokens": 1 });
    assert_eq!(
        cost(directed("sim/search", false, tokens.clone())).await,
        11 * 1_000_000 + 5_000_000_000
    );
    let mut body = directed("sim/vision", false, tokens.clone());
    let part =
        json!({ "type": "image_url", "image_url": { "url": "https://images.example/a.png" } });
    body["messages"] = json!([{ "role": "user", "content": [part, part] }]);
    assert_eq!(
        cost(body).await,
        10 * 2_500_000 + 10_000_000 + 2 * 1_445_000_000
    );
    assert_eq!(
        cost(directed("sim/small:online", false, tokens.clone())).await,
        10 * 150_000 + 600_000 + 20_000_000_000
    );
    assert_eq!(cost(directed("sim/small:free", false, tokens)).await, 0);
    sim.0.shutdown().await;
}

#[tokio::test]
async fn a_cost_is_printed_verbatim_and_booked_exactly() {
    let sim = Sim::start().await;
    let reply = sim
        .chat(directed("sim/small", true, json!({ "cost": "7.1e-05" })))
        .await;
    assert_eq!(number_text(&reply.text(), "cost"), "7.1e-05");
    assert_eq!(sim.0.billed(), Picodollars::new(71_000_000));
    let byok = json!({ "byok": { "fee": "0.001", "upstream": "0.02" } });
    let reply = sim.chat(directed("sim/small", false, byok)).await;
    assert_eq!(reply.json()["usage"]["is_byok"], true);
    assert_eq!(
        number_text(&reply.text(), "upstream_inference_cost"),
        "0.02"
    );
    let books = sim.books().await;
    assert_eq!(books["total_picodollars"], "1071000000");
    assert_eq!(books["total_provider_picodollars"], "20000000000");
    sim.0.shutdown().await;
}

async fn cancelled_after_three(sim: &Sim, model: &str) -> Value {
    let directives = json!({ "completion_tokens": 1000, "chunk_ms": 5, "prompt_tokens": 100 });
    let request = Sim::chat_request(&directed(model, true, directives));
    let mut answer = open(sim.0.address(), request).await.unwrap();
    answer
        .read_until(|text| text.matches(" word").count() >= 3)
        .await;
    drop(answer);
    sim.last_ended().await
}

#[tokio::test]
async fn a_cancelled_stream_is_billed_by_provider() {
    let sim = Sim::start().await;
    let stopped = cancelled_after_three(&sim, "sim/one-dollar").await;
    assert_eq!(stopped["state"], "cancelled");
    let produced = stopped["completion_tokens"].as_u64().unwrap();
    assert!((3..1000).contains(&produced), "{produced}");
    assert_eq!(
        picodollars(&stopped),
        (100 + u128::from(produced)) * 1_000_000
    );

    let ran_on = cancelled_after_three(&sim, "sim/groq").await;
    assert_eq!(ran_on["state"], "cancelled");
    assert_eq!(ran_on["completion_tokens"], 1000);
    assert_eq!(picodollars(&ran_on), 100 * 50_000 + 1000 * 80_000);
    let planned =
        ran_on["ended_at_us"].as_u64().unwrap() - ran_on["started_at_us"].as_u64().unwrap();
    assert!(planned >= 4_900_000, "it ends when it would have ended");
    let path = format!("/api/v1/generation?id={}", ran_on["id"].as_str().unwrap());
    assert_eq!(sim.get(&path).await.status, 404, "and not before");
    sim.0.shutdown().await;
}

#[tokio::test]
async fn a_whole_answer_is_billed_though_nobody_waits_for_it() {
    let sim = Sim::start().await;
    for first_ms in [300, 2000] {
        let directives =
            json!({ "first_ms": first_ms, "prompt_tokens": 10, "completion_tokens": 5 });
        let request = Sim::chat_request(&directed("sim/one-dollar", false, directives));
        let hurried = tokio::time::timeout(
            std::time::Duration::from_millis(150),
            send(sim.0.address(), request),
        );
        assert!(hurried.await.is_err());
        let row = sim.last_ended().await;
        assert_eq!(row["state"], "cancelled");
        assert_eq!(picodollars(&row), 15 * 1_000_000);
    }
    sim.0.shutdown().await;
}

#[tokio::test]
async fn a_broken_stream_is_billed_and_a_failed_one_is_free() {
    let sim = Sim::start().await;
    let cost = async |error: Value| {
        let directives = json!({ "prompt_tokens": 10, "completion_tokens": 8, "error": error });
        sim.chat(directed("sim/one-dollar", true, directives)).await;
        picodollars(&sim.last_ended().await)
    };
    assert_eq!(
        cost(json!({ "kind": "reset", "after": 3 })).await,
        13_000_000
    );
    assert_eq!(cost(json!("mid_stream")).await, 0);
    assert_eq!(
        cost(json!({ "kind": "mid_stream", "after": 4, "billed": true })).await,
        14_000_000
    );
    assert_eq!(cost(json!("no_done")).await, 18_000_000);
    assert_eq!(cost(json!("in_200")).await, 0);
    sim.0.shutdown().await;
}

#[tokio::test]
async fn one_token_a_byte() {
    let sim = Sim::start().await;
    let settings = json!({ "prompt_tokens_per_byte": 1 });
    let key = DEFAULT_MASTER_KEY;
    sim.call("PUT", "/_sim/config", key, settings).await;
    let body = hello("sim/small");
    let bytes = body.to_string().len();
    assert_eq!(sim.chat(body).await.json()["usage"]["prompt_tokens"], bytes);
    sim.0.shutdown().await;
}

#[tokio::test]
async fn credit_is_checked_against_the_output_limit() {
    let config = SimulatorConfig {
        credit: Picodollars::new(1_009_000_000),
        ..SimulatorConfig::default()
    };
    let sim = Sim::with(config).await;
    // $0.001009: 9 prompt tokens and 1000 of output, at $1 per million.
    let mut body = hello("sim/one-dollar");
    body["max_tokens"] = json!(1001);
    let refused = sim.chat(body.clone()).await;
    assert_eq!(refused.status, 402);
    assert!(refused.text().contains("can only afford 1000"));
    assert_eq!(
        sim.chat(hello("sim/one-dollar")).await.status,
        402,
        "without a limit the model's maximum counts"
    );
    body["max_tokens"] = json!(1000);
    body["x_sim"] = json!({ "completion_tokens": 1000 });
    assert_eq!(sim.chat(body.clone()).await.status, 200);
    body["model"] = json!("sim/small:free");
    assert_eq!(sim.chat(body).await.status, 402, "no credit at all");
    sim.0.shutdown().await;
}

#[tokio::test]
async fn old_generations_are_forgotten_but_not_their_amounts() {
    let config = SimulatorConfig {
        keep_generations: 2,
        ..SimulatorConfig::default()
    };
    let sim = Sim::with(config).await;
    for _ in 0..5 {
        sim.chat(hello("sim/one-dollar")).await;
    }
    assert_eq!(sim.generations().await.len(), 2);
    assert_eq!(sim.0.billed(), Picodollars::new(5 * 25_000_000));
    let since = sim.get("/_sim/generations?since=5").await.json();
    assert_eq!(since["generations"].as_array().unwrap().len(), 1);
    assert_eq!(since["next"], 6);
    sim.call("POST", "/_sim/reset", DEFAULT_MASTER_KEY, Value::Null)
        .await;
    assert_eq!(sim.0.billed(), Picodollars::ZERO);
    assert_eq!(sim.generations().await.len(), 0);
    sim.0.shutdown().await;
}
