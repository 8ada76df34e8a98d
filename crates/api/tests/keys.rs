//! Keys with their limits, as their owners and the operator set them, and what the audit log says of it.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use airouter_store::audit::{AuditVerification, verify_audit};
use airouter_store::clients::Role;
use http::StatusCode;
use serde_json::{Value, json};
use support::{Answer, Somebody, World};

const KEYS: &str = "/v1/auth/api-keys";

struct Desk {
    world: World,
    client: Somebody,
    token: String,
}

impl Desk {
    async fn new() -> Self {
        let world = World::new().await;
        let client = world.somebody(Role::Client).await;
        let token = world.token(&client).await;
        Self {
            world,
            client,
            token,
        }
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.world.call(&self.token, method, path, body).await
    }

    async fn create(&self, body: Value) -> Answer {
        self.call("POST", KEYS, Some(&body)).await
    }

    /// Changes the key at `path` as it is now.
    async fn change(&self, path: &str, body: Value) -> Answer {
        let seen = self.call("GET", path, None).await;
        let etag = seen.headers["etag"].to_str().unwrap().to_owned();
        self.change_seen(path, Some(&etag), body).await
    }

    async fn change_seen(&self, path: &str, etag: Option<&str>, body: Value) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(etag.map(|etag| ("if-match", etag)));
        self.world.send("PATCH", path, &headers, Some(&body)).await
    }
}

fn whole_key() -> Value {
    json!({
        "name": "my laptop",
        "spend_limit": {"amount": "10.5", "reset": "monthly"},
        "requests_per_day": 200,
        "requests_per_minute": 20,
        "tokens_per_minute": 100_000,
        "concurrent_requests": 3,
        "allowed_models": ["openai/gpt-4o-mini", "anthropic/*"],
        "allowed_addresses": ["192.0.2.7", "2001:db8::1/32"],
        "expires_at": "2100-01-01T01:00:00+01:00",
    })
}

#[tokio::test]
async fn a_key_has_the_limits_that_it_was_given() {
    let desk = Desk::new().await;
    let created = desk.create(whole_key()).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    let mut created = created.json();
    let secret = created["key"].take();
    assert!(secret.as_str().unwrap().starts_with("sk-air-"));
    created.as_object_mut().unwrap().remove("key");
    let path = format!("{KEYS}/{}", created["id"].as_str().unwrap());
    let found = desk.call("GET", &path, None).await.json();
    assert_eq!(found, created);
    assert_eq!(
        found["spend_limit"],
        json!({"amount": "10.5", "reset": "monthly", "left": "10.5", "resets_at": "2026-12-01T00:00:00Z"})
    );
    for (field, value) in [
        ("owner_id", json!(desk.client.account)),
        ("payer_id", json!(desk.client.account)),
        ("requests_per_day", json!(200)),
        ("requests_left_today", json!(200)),
        ("requests_per_minute", json!(20)),
        ("tokens_per_minute", json!(100_000)),
        ("concurrent_requests", json!(3)),
        (
            "allowed_models",
            json!(["openai/gpt-4o-mini", "anthropic/*"]),
        ),
        (
            "allowed_addresses",
            json!(["192.0.2.7/32", "2001:db8::/32"]),
        ),
        ("expires_at", json!("2100-01-01T00:00:00Z")),
        ("last_used_at", Value::Null),
    ] {
        assert_eq!(found[field], value, "{field}");
    }
    let listed = desk.call("GET", KEYS, None).await.json();
    assert_eq!(listed["data"], json!([found]));
}

#[tokio::test]
async fn what_is_named_changes_and_null_lifts() {
    let desk = Desk::new().await;
    let created = desk.create(whole_key()).await.json();
    let path = format!("{KEYS}/{}", created["id"].as_str().unwrap());
    let changed = desk.change(&path, json!({"name": "my desktop"})).await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    let mut expected = created.clone();
    expected.as_object_mut().unwrap().remove("key");
    expected["name"] = json!("my desktop");
    assert_eq!(changed.json(), expected);
    // The tag of the answer is the one of what is there now.
    let etag = changed.headers["etag"].to_str().unwrap().to_owned();
    let daily = json!({"spend_limit": {"amount": "3", "reset": "daily"}});
    let changed = desk.change_seen(&path, Some(&etag), daily).await.json();
    assert_eq!(changed["spend_limit"]["reset"], "daily");
    assert_eq!(changed["spend_limit"]["left"], "3");
    let lifted = [
        "spend_limit",
        "requests_per_day",
        "requests_per_minute",
        "tokens_per_minute",
        "concurrent_requests",
        "allowed_models",
        "allowed_addresses",
        "expires_at",
    ];
    let nulls: Value = lifted
        .iter()
        .map(|field| ((*field).to_owned(), Value::Null))
        .collect();
    let changed = desk.change(&path, nulls).await.json();
    for field in lifted {
        assert_eq!(changed[field], Value::Null, "{field}");
    }
    assert_eq!(changed["requests_left_today"], Value::Null);
    let late = desk
        .change_seen(&path, Some(&etag), json!({"name": "late"}))
        .await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED);
    let blind = desk
        .change_seen(&path, None, json!({"name": "blind"}))
        .await;
    assert_eq!(blind.status, StatusCode::PRECONDITION_REQUIRED);
}

#[tokio::test]
async fn limits_that_cant_be_are_refused() {
    let desk = Desk::new().await;
    let created = desk.create(json!({"name": "a key"})).await.json();
    let path = format!("{KEYS}/{}", created["id"].as_str().unwrap());
    let many = |text: &str, count| json!(vec![text; count]);
    for (field, value) in [
        ("name", json!("two\nlines")),
        ("spend_limit", json!({"amount": "-1", "reset": "daily"})),
        (
            "spend_limit",
            json!({"amount": "1000000001", "reset": "none"}),
        ),
        ("tokens_per_minute", json!(u64::MAX)),
        ("allowed_models", json!([])),
        ("allowed_models", json!(["a\u{0}b"])),
        ("allowed_models", json!(["a*b"])),
        ("allowed_models", many("a", 257)),
        ("allowed_addresses", json!([])),
        ("allowed_addresses", json!(["example.com"])),
        ("allowed_addresses", json!(["192.0.2.0/33"])),
        ("allowed_addresses", many("192.0.2.1", 65)),
        ("expires_at", json!("2026-11-20T11:59:59Z")),
    ] {
        let mut body = json!({"name": "a key"});
        body[field] = value;
        for answer in [
            desk.create(body.clone()).await,
            desk.change(&path, body.clone()).await,
        ] {
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
            assert_eq!(answer.json()["field"], field);
        }
    }
    for (field, value) in [
        ("expires_at", json!("9999-12-31T23:59:59-23:00")),
        ("spend_limit", json!({"amount": 1, "reset": "daily"})),
        ("spend_limit", json!({"amount": "1", "reset": "hourly"})),
        ("spend_limit", json!({"amount": "1"})),
        ("requests_per_day", json!(0)),
        ("requests_per_minute", json!(-1)),
        ("expires_at", json!("tomorrow")),
        ("unknown", json!(1)),
    ] {
        let mut body = json!({"name": "a key"});
        body[field] = value;
        for answer in [
            desk.create(body.clone()).await,
            desk.change(&path, body.clone()).await,
        ] {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        }
    }
    let listed = desk.call("GET", KEYS, None).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_operator_sets_a_clients_keys_and_the_log_tells_of_all() {
    let desk = Desk::new().await;
    let admin = desk.world.somebody(Role::Admin).await;
    let token = desk.world.token(&admin).await;
    let keys = format!("/v1/admin/clients/{}/api-keys", desk.client.account);
    let own = desk.create(json!({"name": "own"})).await.json();
    let body = json!({"name": "given", "requests_per_day": 5});
    let given = desk.world.call(&token, "POST", &keys, Some(&body)).await;
    assert_eq!(given.status, StatusCode::CREATED, "{given:?}");
    let listed = desk.world.call(&token, "GET", &keys, None).await.json();
    let seen = desk.call("GET", KEYS, None).await.json();
    assert_eq!(listed, seen);
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let path = format!("{keys}/{}", own["id"].as_str().unwrap());
    let operator = Desk {
        token,
        client: admin,
        ..desk
    };
    let changed = operator.change(&path, json!({"requests_per_day": 7})).await;
    assert_eq!(changed.json()["requests_left_today"], 7, "{changed:?}");
    let revoked = operator.call("DELETE", &path, None).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    let others = format!(
        "/v1/admin/clients/{}/api-keys/{}",
        operator.client.account,
        own["id"].as_str().unwrap()
    );
    let elsewhere = operator.call("GET", &others, None).await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
    let nobodys = format!("/v1/admin/clients/{}/api-keys", uuid::Uuid::now_v7());
    for (method, body) in [("GET", None), ("POST", Some(json!({"name": "a key"})))] {
        let answer = operator.call(method, &nobodys, body.as_ref()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }

    let log = operator.call("GET", "/v1/admin/audit-log", None).await;
    let log = log.json()["data"].as_array().unwrap().clone();
    let told: Vec<_> = log
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        told,
        [
            "api_key.create",
            "api_key.create",
            "api_key.change",
            "api_key.revoke"
        ]
    );
    assert!(
        log[..3]
            .iter()
            .all(|entry| entry["after"]["name"].is_string())
    );
    assert_eq!(log[0]["subject_id"], own["id"]);
    assert_ne!(log[0]["actor"], log[1]["actor"]);
    assert_eq!(log[2]["before"]["requests_per_day"], Value::Null);
    assert_eq!(log[2]["after"]["requests_per_day"], 7);
    let verified = verify_audit(&*operator.world.store).await.unwrap();
    assert_eq!(verified, AuditVerification::Whole(4));
}
