//! Faults strike as asked, and their errors carry the account's data as real ones do.

use std::time::Duration;

use crate::support::{Sim, directed, hello, open, request, send};
use airouter_simulator::DEFAULT_MASTER_KEY;
use serde_json::{Value, json};

#[tokio::test]
async fn status_faults_have_openrouters_shape_and_bill_nothing() {
    let sim = Sim::start().await;
    for (kind, status, words) in [
        ("status:401", 401, "User not found"),
        ("status:402", 402, "Insufficient credits"),
        ("status:403", 403, "Key limit exceeded (total limit)"),
        ("status:408", 408, "timed out"),
        ("status:429", 429, "Rate limit exceeded"),
        ("status:429_provider", 429, "provider_name"),
        ("status:500", 500, "Internal Server Error"),
        ("status:502", 502, "Provider returned error"),
        ("status:503", 503, "provider_overloaded"),
    ] {
        for stream in [false, true] {
            let body = directed("sim/small", stream, json!({ "error": kind }));
            let reply = sim.chat(body).await;
            assert_eq!(reply.status, status, "{kind}");
            assert!(reply.text().contains(words), "{kind}: {}", reply.text());
            assert_eq!(reply.json()["error"]["code"], status);
            assert!(
                reply.json()["user_id"]
                    .as_str()
                    .unwrap()
                    .starts_with("user_")
            );
            let platform = kind == "status:429";
            assert_eq!(reply.headers.contains_key("x-ratelimit-limit"), platform);
        }
    }
    let books = sim.books().await;
    assert_eq!(books["total_picodollars"], "0");
    assert_eq!(books["requests"], 18);
    assert_eq!(books["running"], 0);
    sim.0.shutdown().await;
}

#[tokio::test]
async fn errors_inside_a_200() {
    let sim = Sim::start().await;
    let chat =
        async |stream, error| sim.chat(directed("sim/small", stream, json!({ "error": error })));
    let reply = chat(false, json!("in_200")).await.await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["error"]["code"], 502);
    let reply = chat(true, json!("in_200")).await.await;
    assert_eq!(reply.events()[0]["error"]["code"], 502);
    assert_eq!(reply.events()[0]["choices"], json!([]));

    let reply = chat(false, json!("in_choice")).await.await.json();
    assert_eq!(reply["choices"][0]["finish_reason"], "error");
    assert_eq!(reply["choices"][0]["error"]["code"], 502);

    let reply = chat(true, json!({ "kind": "mid_stream", "after": 3 }))
        .await
        .await;
    let events = reply.events();
    assert_eq!(events.len(), 1 + 3 + 1);
    assert_eq!(events[4]["error"]["code"], 502);
    assert_eq!(events[4]["choices"][0]["finish_reason"], "error");
    assert!(!reply.text().contains("[DONE]"));
    sim.0.shutdown().await;
}

#[tokio::test]
async fn broken_answers() {
    let sim = Sim::start().await;
    let body = |stream, error| directed("sim/small", stream, json!({ "error": error }));
    let at = sim.0.address();
    for stream in [false, true] {
        let refused = send(at, Sim::chat_request(&body(stream, json!("reset")))).await;
        assert!(refused.is_err(), "closed before an answer");
        let cut = sim
            .chat(body(stream, json!({ "kind": "reset", "after": 2 })))
            .await;
        assert!(!cut.proper && !cut.bytes().is_empty());
        let garbage = sim.chat(body(stream, json!("garbage"))).await;
        assert!(serde_json::from_slice::<Value>(&garbage.bytes()).is_err());
        assert!(
            sim.chat(body(stream, json!("empty")))
                .await
                .bytes()
                .is_empty()
        );
    }
    let no_done = sim.chat(body(true, json!("no_done"))).await;
    assert!(no_done.proper);
    assert!(no_done.text().contains("\"usage\"") && !no_done.text().contains("[DONE]"));
    sim.0.shutdown().await;
}

#[tokio::test]
async fn a_hanging_answer_hangs_until_the_client_leaves() {
    let sim = Sim::start().await;
    let brief = Duration::from_millis(100);
    let silent = directed("sim/small", false, json!({ "error": "hang" }));
    let waiting = tokio::time::timeout(brief, sim.chat(silent)).await;
    assert!(waiting.is_err());
    assert_eq!(sim.last_ended().await["cost_picodollars"], "0");

    let error = json!({ "kind": "hang", "after": 2 });
    let body = directed(
        "sim/one-dollar",
        true,
        json!({ "prompt_tokens": 1, "error": error }),
    );
    let mut answer = open(sim.0.address(), Sim::chat_request(&body))
        .await
        .unwrap();
    answer
        .read_until(|text| text.matches(" word").count() == 2)
        .await;
    let more = tokio::time::timeout(brief, answer.read_until(|_| false)).await;
    assert!(more.is_err());
    drop(answer);
    assert_eq!(sim.last_ended().await["cost_picodollars"], "3000000");
    sim.0.shutdown().await;
}

#[tokio::test]
async fn faults_for_one_key_or_the_first_attempts() {
    let sim = Sim::start().await;
    let account = |key: &str| format!("/_sim/accounts/{key}");
    let ok = json!({ "state": "ok" });
    sim.call("PUT", &account("other"), "", ok).await;
    let error = json!({ "kind": "status:401", "only_key": "other" });
    let body = directed("sim/small", false, json!({ "error": error }));
    assert_eq!(sim.chat(body.clone()).await.status, 200);
    let path = "/api/v1/chat/completions";
    assert_eq!(sim.call("POST", path, "other", body).await.status, 401);

    let error = json!({ "kind": "status:502", "first_attempts": 2, "attempt_key": "a" });
    let body = directed("sim/small", false, json!({ "error": error }));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(sim.chat(body.clone()).await.status.as_u16());
    }
    assert_eq!(statuses, [502, 502, 200, 200]);
    sim.0.shutdown().await;
}

#[tokio::test]
async fn an_account_has_a_state() {
    let sim = Sim::start().await;
    let account = format!("/_sim/accounts/{DEFAULT_MASTER_KEY}");
    for (state, chat, key) in [
        ("disabled", 401, 401),
        ("broke", 402, 200),
        ("key_limited", 403, 200),
        ("rate_limited", 429, 429),
        ("failing", 502, 502),
        ("ok", 200, 200),
    ] {
        sim.call("PUT", &account, "", json!({ "state": state }))
            .await;
        assert_eq!(sim.chat(hello("sim/small")).await.status, chat, "{state}");
        assert_eq!(sim.get("/api/v1/key").await.status, key, "{state}");
    }
    sim.call("PUT", &account, "", json!({ "state": "hanging" }))
        .await;
    let waiting = tokio::time::timeout(Duration::from_millis(50), sim.chat(hello("sim/small")));
    assert!(waiting.await.is_err());
    sim.call(
        "PUT",
        &account,
        "",
        json!({ "state": "ok", "credit_usd": "0" }),
    )
    .await;
    assert_eq!(sim.chat(hello("sim/small")).await.status, 402);
    let path = "/api/v1/chat/completions";
    let unknown = sim.call("POST", path, "nobody", hello("sim/small")).await;
    assert_eq!(unknown.status, 401);
    sim.0.shutdown().await;
}

#[tokio::test]
async fn bad_input_is_refused() {
    let sim = Sim::start().await;
    let path = "/api/v1/chat/completions";
    for body in [
        "",
        "{",
        "[]",
        r#"{"model":7}"#,
        r#"{"model":"sim/small"}"#,
        r#"{"model":"sim/small","messages":{}}"#,
        r#"{"model":"sim/small","messages":[{}],"max_tokens":-1}"#,
        r#"{"model":"sim/small","messages":[{}],"max_tokens":0}"#,
        r#"{"model":"sim/small","messages":[{}],"x_sim":{"typo":1}}"#,
    ] {
        let request = request("POST", path, DEFAULT_MASTER_KEY, body.to_owned());
        let reply = send(sim.0.address(), request).await.unwrap();
        assert_eq!(reply.status, 400, "{body}");
    }
    assert_eq!(sim.books().await["running"], 0);
    sim.0.shutdown().await;
}
