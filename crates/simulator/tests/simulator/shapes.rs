//! Answers look as they do on the wire.

use crate::support::{Sim, directed, events, hello, number_text};
use airouter_simulator::{DEFAULT_MANAGEMENT_KEY, DEFAULT_MASTER_KEY};
use serde_json::{Value, json};

#[tokio::test]
async fn a_whole_answer_has_openrouters_fields() {
    let sim = Sim::start().await;
    let reply = sim.chat(hello("sim/small")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/json");
    let body = reply.json();
    assert_eq!(body["id"], reply.header("x-generation-id"));
    assert!(body["id"].as_str().unwrap().starts_with("gen-"));
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["provider"], "OpenAI");
    assert_eq!(body["model"], "sim/small");
    let choice = &body["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(choice["native_finish_reason"], "stop");
    assert_eq!(
        choice["message"]["content"],
        ["word"; 16].join(" ").as_str()
    );
    // [{"content":"Hello!","role":"user"}] has 36 bytes.
    assert_eq!(body["usage"]["prompt_tokens"], 9);
    assert_eq!(body["usage"]["completion_tokens"], 16);
    assert_eq!(body["usage"]["total_tokens"], 25);
    assert_eq!(body["usage"]["is_byok"], false);
    // 9 × 150,000 + 16 × 600,000 picodollars
    assert_eq!(number_text(&reply.text(), "cost"), "0.00001095");
    assert_eq!(
        number_text(&reply.text(), "upstream_inference_cost"),
        "0.00001095"
    );
    sim.0.shutdown().await;
}

#[tokio::test]
async fn a_stream_has_comment_role_content_finish_usage_and_done() {
    let sim = Sim::start().await;
    let mut body = hello("sim/small");
    body["stream"] = json!(true);
    let reply = sim.chat(body).await;
    assert_eq!(reply.header("content-type"), "text/event-stream");
    assert!(reply.text().starts_with(": OPENROUTER PROCESSING\n\n"));
    assert!(reply.done());
    let events = reply.events();
    assert_eq!(events.len(), 1 + 16 + 1 + 1);
    for event in &events {
        assert_eq!(event["id"], reply.header("x-generation-id"));
        assert_eq!(event["object"], "chat.completion.chunk");
    }
    assert_eq!(events[1]["choices"][0]["delta"]["content"], " word");
    assert_eq!(events[17]["choices"][0]["finish_reason"], "stop");
    assert!(events[17].get("usage").is_none(), "no usage before its own");
    let last = &events[18];
    assert_eq!(
        last["choices"][0]["finish_reason"], "stop",
        "repeated, as recorded"
    );
    assert_eq!(last["usage"]["completion_tokens"], 16);
    sim.0.shutdown().await;
}

#[tokio::test]
async fn usage_stands_where_it_is_asked_for() {
    let sim = Sim::start().await;
    let placed = async |mode: &str| -> Vec<(usize, Value)> {
        let directives = json!({ "usage": mode, "completion_tokens": 4 });
        let reply = sim.chat(directed("sim/small", true, directives)).await;
        assert!(reply.done(), "{mode}");
        let events = reply.events().into_iter().enumerate();
        events.filter(|(_, e)| e.get("usage").is_some()).collect()
    };
    assert_eq!(placed("none").await.len(), 0);
    assert_eq!(placed("first_chunk").await[0].0, 0);
    let finish = placed("finish_chunk").await;
    assert_eq!((finish.len(), finish[0].0), (1, 5));
    assert_eq!(placed("empty_choices").await[0].1["choices"], json!([]));
    let null_finish = placed("null_finish").await;
    assert_eq!(null_finish[0].1["choices"][0]["finish_reason"], Value::Null);
    let repeated = placed("repeated").await;
    assert_eq!(repeated[0].1, repeated[1].1);
    let several = placed("several").await;
    assert_eq!(several[0].1["usage"]["completion_tokens"], 2);
    assert_eq!(several[1].1["usage"]["completion_tokens"], 4);
    assert_eq!(placed("null_cost").await[0].1["usage"]["cost"], Value::Null);
    assert_eq!(placed("zero_cost").await[0].1["usage"]["cost"], 0);
    sim.0.shutdown().await;
}

#[tokio::test]
async fn bytes_come_cut_with_any_line_end() {
    let sim = Sim::start().await;
    let text = "Grüße, 世界 🎉";
    for (line_end, newline) in [("lf", "\n"), ("crlf", "\r\n"), ("cr", "\r")] {
        let directives = json!({ "cut": 1, "line_end": line_end, "text": text, "chunks": 3 });
        let reply = sim.chat(directed("sim/small", true, directives)).await;
        assert!(reply.frames.iter().all(|frame| frame.len() == 1));
        let raw = reply.text();
        assert!(raw.ends_with(&format!("data: [DONE]{newline}{newline}")));
        let said: String = events(&raw.replace(newline, "\n"))
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(said, text, "{line_end}");
    }
    sim.0.shutdown().await;
}

#[tokio::test]
async fn compressed_bodies_and_huge_events() {
    use std::io::Read;
    let sim = Sim::start().await;
    for stream in [false, true] {
        let reply = sim
            .chat(directed("sim/small", stream, json!({ "gzip": true })))
            .await;
        assert_eq!(reply.header("content-encoding"), "gzip");
        let mut text = String::new();
        flate2::read::GzDecoder::new(reply.bytes().as_slice())
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.contains("\"usage\""));

        let directives = json!({ "event_bytes": 2_000_000 });
        let reply = sim.chat(directed("sim/small", stream, directives)).await;
        let longest = reply.text().lines().map(str::len).max();
        assert!(longest > Some(2_000_000));
    }
    let reply = sim
        .chat(directed(
            "sim/small",
            false,
            json!({ "leading_whitespace": 5 }),
        ))
        .await;
    assert!(reply.text().starts_with("\n\n\n\n\n{"));
    assert_eq!(reply.json()["object"], "chat.completion");
    sim.0.shutdown().await;
}

#[tokio::test]
async fn slow_whole_answers_send_their_status_early() {
    let sim = Sim::start().await;
    let directives = json!({ "first_ms": 1200 });
    let reply = sim.chat(directed("sim/small", false, directives)).await;
    assert!(
        reply.text().starts_with("\n\n{"),
        "a sign of life each half second"
    );
    assert_eq!(reply.json()["object"], "chat.completion");
    let quick = sim
        .chat(directed("sim/small", false, json!({ "first_ms": 20 })))
        .await;
    assert!(quick.text().starts_with('{'));
    sim.0.shutdown().await;
}

#[tokio::test]
async fn tools_are_called_in_fragments() {
    let sim = Sim::start().await;
    let mut body = hello("sim/small");
    body["tools"] = json!([{ "type": "function", "function": { "name": "weather", "parameters": {
        "type": "object", "properties": { "city": { "type": "string" }, "days": { "type": "integer" } },
    }}}]);
    body["tool_choice"] = json!({ "type": "function", "function": { "name": "weather" } });
    let whole = sim.chat(body.clone()).await.json();
    let call = &whole["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(call["function"]["name"], "weather");
    let arguments = call["function"]["arguments"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(arguments).unwrap(),
        json!({ "city": "word", "days": 7 })
    );

    body["stream"] = json!(true);
    let events = sim.chat(body.clone()).await.events();
    let fragments: Vec<&str> = events
        .iter()
        .filter_map(|e| e["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str())
        .collect();
    assert!(fragments.len() > 3);
    assert_eq!(fragments.concat(), arguments);

    body["tool_choice"] = json!("auto");
    let events = sim.chat(body).await.events();
    assert!(
        events
            .iter()
            .all(|e| e["choices"][0]["delta"].get("tool_calls").is_none())
    );
    sim.0.shutdown().await;
}

#[tokio::test]
async fn structured_output_fits_its_schema() {
    let sim = Sim::start().await;
    let mut body = hello("sim/small");
    body["response_format"] = json!({ "type": "json_schema", "json_schema": { "name": "p", "schema": {
        "type": "object", "properties": { "name": { "type": "string" }, "ok": { "type": "boolean" } },
    }}});
    let whole = sim.chat(body).await.json();
    let content = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(content).unwrap(),
        json!({ "name": "word", "ok": true })
    );
    sim.0.shutdown().await;
}

#[tokio::test]
async fn limits_models_and_prices_are_checked() {
    let sim = Sim::start().await;
    let mut body = hello("sim/small");
    body["max_tokens"] = json!(8);
    body["max_completion_tokens"] = json!(5);
    let short = sim.chat(body).await.json();
    assert_eq!(short["usage"]["completion_tokens"], 5);
    assert_eq!(short["choices"][0]["finish_reason"], "length");

    let refused = async |body: Value| {
        let reply = sim.chat(body).await;
        let code = reply.json()["error"]["code"].as_u64().unwrap();
        assert_eq!(code, u64::from(reply.status.as_u16()));
        (code, reply.text())
    };
    assert_eq!(refused(hello("nobody/nothing")).await.0, 400);
    assert_eq!(
        refused(json!({ "model": "sim/small", "messages": [] }))
            .await
            .0,
        400
    );
    let mut body = hello("sim/small");
    body["provider"] = json!({ "max_price": { "prompt": 0.149_999, "completion": "5" } });
    let (code, text) = refused(body.clone()).await;
    assert_eq!(code, 404);
    assert!(text.contains("No endpoints found"));
    body["provider"] = json!({ "max_price": { "prompt": 0.15, "completion": "0.6" } });
    assert_eq!(sim.chat(body).await.status, 200);
    sim.0.shutdown().await;
}

#[tokio::test]
async fn another_model_may_answer() {
    let sim = Sim::start().await;
    let auto = sim.chat(hello("openrouter/auto")).await.json();
    assert_eq!(auto["model"], "openai/gpt-4o-mini");
    let mut body = hello("nobody/nothing");
    body["models"] = json!(["nobody/else", "sim/groq"]);
    let fallback = sim.chat(body).await.json();
    assert_eq!(fallback["model"], "sim/groq");
    assert_eq!(fallback["provider"], "Groq");
    let renamed = sim
        .chat(directed(
            "sim/small",
            false,
            json!({ "model": "x/dated-1" }),
        ))
        .await;
    assert_eq!(renamed.json()["model"], "x/dated-1");
    sim.0.shutdown().await;
}

#[tokio::test]
async fn the_account_api_answers() {
    let sim = Sim::start().await;
    let models = sim.get("/api/v1/models").await.json();
    assert!(models["data"].as_array().unwrap().len() >= 12);

    let chat = sim.chat(hello("sim/one-dollar")).await;
    let path = format!("/api/v1/generation?id={}", chat.header("x-generation-id"));
    let mut polls = 0;
    let record = loop {
        let reply = sim.get(&path).await;
        if reply.status == 200 {
            break reply;
        }
        assert_eq!(reply.status, 404);
        polls += 1;
    };
    assert!(polls > 0, "it takes a moment to be written");
    assert_eq!(number_text(&record.text(), "total_cost"), "0.000025");
    assert_eq!(record.json()["data"]["native_tokens_prompt"], 9);
    assert_eq!(record.json()["data"]["cancelled"], false);

    let key = sim.get("/api/v1/key").await;
    assert_eq!(number_text(&key.text(), "usage"), "0.000025");
    assert_eq!(sim.get("/api/v1/credits").await.status, 403);
    let credits = sim
        .call(
            "GET",
            "/api/v1/credits",
            DEFAULT_MANAGEMENT_KEY,
            Value::Null,
        )
        .await;
    assert_eq!(number_text(&credits.text(), "total_usage"), "0.000025");
    assert_eq!(number_text(&credits.text(), "total_credits"), "1000000");
    sim.0.shutdown().await;
}

#[tokio::test]
async fn what_was_forwarded_can_be_seen() {
    let sim = Sim::start().await;
    let mut body = hello("sim/small");
    body["user"] = json!("pseudonym");
    body["max_tokens"] = json!(30);
    body["provider"] = json!({ "max_price": { "prompt": 9 } });
    let reply = sim.chat(body.clone()).await;
    let last = sim.get("/_sim/last_request").await.json();
    assert_eq!(last["id"], reply.header("x-generation-id"));
    assert_eq!(
        last["headers"]["authorization"],
        format!("Bearer {DEFAULT_MASTER_KEY}")
    );
    let text = last["body"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), body);
    let row = &sim.generations().await[0];
    assert_eq!(row["user"], "pseudonym");
    assert_eq!(row["max_tokens"], 30);
    assert_eq!(row["max_price"], r#"{"prompt":9}"#);
    assert_eq!(row["seen"]["user-agent"], "tests");
    sim.0.shutdown().await;
}
