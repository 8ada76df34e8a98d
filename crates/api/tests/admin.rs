//! What an administrator does to clients, and what the audit log says of it.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use airouter_store::audit::{AuditVerification, verify_audit};
use airouter_store::clients::Role;
use http::StatusCode;
use serde_json::{Value, json};
use support::{Answer, PASSWORD, Somebody, World};

struct Office {
    world: World,
    admin: Somebody,
    token: String,
    client: Somebody,
}

impl Office {
    async fn new() -> Self {
        let world = World::new().await;
        let admin = world.somebody(Role::Admin).await;
        let client = world.somebody(Role::Client).await;
        Self {
            token: world.token(&admin).await,
            world,
            admin,
            client,
        }
    }

    fn path(&self, what: &str) -> String {
        format!("/v1/admin/clients/{}{what}", self.client.account)
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.world.call(&self.token, method, path, body).await
    }

    async fn book(&self, what: &str, key: Option<&str>, amount: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        let body = json!({"amount": amount, "reason": "a test"});
        self.world
            .send("POST", &self.path(what), &headers, Some(&body))
            .await
    }

    async fn log(&self) -> Vec<Value> {
        let log = self.call("GET", "/v1/admin/audit-log", None).await.json();
        log["data"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn money_is_booked_once_for_a_key() {
    let office = Office::new().await;
    let first = office.book("/credit", Some("a"), "10").await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    assert_eq!(first.json()["balance"], "10");
    let again = office.book("/credit", Some("a"), "10.0").await;
    assert_eq!((again.status, again.body), (first.status, first.body));
    for (what, amount) in [("/credit", "11"), ("/debit", "10")] {
        let other = office.book(what, Some("a"), amount).await;
        assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(other.code(), "idempotency_key_reused");
    }
    let debit = office.book("/debit", Some("b"), "2.5").await;
    assert_eq!(debit.json()["balance"], "7.5");
    office.book("/credit", None, "1").await;
    let without = office.book("/credit", None, "1").await;
    assert_eq!(without.json()["balance"], "9.5");

    let log = office.log().await;
    let actions: Vec<_> = log
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "client.credit",
            "client.debit",
            "client.credit",
            "client.credit"
        ]
    );
    assert_eq!(log[1]["before"], json!({"balance": "10"}));
    assert_eq!(log[1]["after"], json!({"balance": "7.5"}));
    assert_eq!(log[1]["actor"], json!(office.admin.email));
    assert_eq!(log[1]["subject_id"], json!(office.client.account));
    assert_eq!(log[1]["reason"], "a test");
    assert_eq!(log[1]["address"], "127.0.0.1");
    let verified = verify_audit(&*office.world.store).await.unwrap();
    assert_eq!(verified, AuditVerification::Whole(4));
    let books = office.world.store.verify().await.unwrap();
    assert_eq!(books.findings, []);
}

#[tokio::test]
async fn what_cant_be_booked_is_refused() {
    let office = Office::new().await;
    for amount in ["0", "-1"] {
        let refused = office.book("/credit", None, amount).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{amount}");
    }
    for amount in ["NaN", "1e400", "", "0.0000000001", "99999999999"] {
        let refused = office.book("/credit", None, amount).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{amount}");
    }
    let long = "x".repeat(256);
    let refused = office.book("/credit", Some(&long), "1").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let nobody = format!("/v1/admin/clients/{}/credit", uuid::Uuid::now_v7());
    let body = json!({"amount": "1", "reason": "a test"});
    let refused = office.call("POST", &nobody, Some(&body)).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    assert_eq!(office.log().await.len(), 0);
}

#[tokio::test]
async fn of_two_who_change_the_same_one_must_look_again() {
    let office = Office::new().await;
    let seen = office.call("GET", &office.path(""), None).await;
    let etag = seen.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(seen.json()["settings"]["tier"], json!(null));
    let bearer = format!("Bearer {}", office.token);
    let change = async |etag: Option<&str>, body: Value| {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(etag.map(|etag| ("if-match", etag)));
        office
            .world
            .send("PATCH", &office.path(""), &headers, Some(&body))
            .await
    };
    let blind = change(None, json!({"tier": "free"})).await;
    assert_eq!(blind.status, StatusCode::PRECONDITION_REQUIRED);
    let wanted = json!({"tier": "free", "credit_line": "5", "requests_per_minute": 7, "reason": "asked for"});
    let changed = change(Some(&etag), wanted).await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    let settings = &changed.json()["settings"];
    assert_eq!(settings["tier"], "free");
    assert_eq!(settings["credit_line"], "5");
    assert_eq!(settings["requests_per_minute"], 7);
    let late = change(Some(&etag), json!({"tier": "standard"})).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED);
    let etag = changed.headers["etag"].to_str().unwrap().to_owned();
    for (field, value) in [
        ("tier", json!("no such tier")),
        ("plan", json!("no such plan")),
        ("credit_line", json!("-1")),
    ] {
        let wrong = change(Some(&etag), json!({ field: value })).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
        assert_eq!(wrong.json()["field"], field);
    }
    let lifted = change(
        Some(&etag),
        json!({"tier": null, "requests_per_minute": null}),
    )
    .await;
    assert_eq!(lifted.json()["settings"]["tier"], json!(null));
    assert_eq!(lifted.json()["settings"]["credit_line"], "5");
    let log = office.log().await;
    assert_eq!(log.len(), 2);
    assert_eq!(log[0]["before"]["tier"], json!(null));
    assert_eq!(log[0]["after"]["tier"], "free");
    assert_eq!(log[0]["reason"], "asked for");
}

#[tokio::test]
async fn a_disabled_client_is_out() {
    let office = Office::new().await;
    let session = office.world.token(&office.client).await;
    let me = async || {
        office
            .world
            .call(&session, "GET", "/v1/auth/me", None)
            .await
            .status
    };
    let log_in = async || {
        let body = json!({"email": office.client.email, "password": PASSWORD});
        office.world.post("/v1/auth/login", &body).await.status
    };
    assert_eq!(me().await, StatusCode::OK);
    let reason = json!({"reason": "chargeback"});
    let disabled = office
        .call("POST", &office.path("/disable"), Some(&reason))
        .await;
    assert_eq!(disabled.json()["status"], "disabled", "{disabled:?}");
    assert_eq!(me().await, StatusCode::UNAUTHORIZED);
    assert_eq!(log_in().await, StatusCode::UNAUTHORIZED);
    let enabled = office
        .call("POST", &office.path("/enable"), Some(&reason))
        .await;
    assert_eq!(enabled.json()["status"], "active");
    assert_eq!(
        me().await,
        StatusCode::UNAUTHORIZED,
        "its sessions have ended"
    );
    assert_eq!(log_in().await, StatusCode::OK);
    let oneself = format!("/v1/admin/clients/{}/disable", office.admin.account);
    let refused = office.call("POST", &oneself, Some(&reason)).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::CONFLICT, "oneself")
    );
}

#[tokio::test]
async fn clients_are_found() {
    let office = Office::new().await;
    let find = async |query: &str| {
        let path = format!("/v1/admin/clients{query}");
        office.call("GET", &path, None).await
    };
    let first = find("?limit=1").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = find(&format!("?limit=1&cursor={cursor}")).await.json();
    assert_eq!(second["next_cursor"], json!(null));
    let ids = [&first["data"][0]["id"], &second["data"][0]["id"]];
    assert_eq!(
        ids,
        [&json!(office.admin.account), &json!(office.client.account)]
    );
    let email = office.client.email.to_uppercase();
    let found = find(&format!("?search={email}")).await.json();
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
    assert_eq!(found["data"][0]["email"], json!(office.client.email));
    assert_eq!(found["data"][0]["balance"]["balance"], "0");
    assert_eq!(find("?search=nobody").await.json()["data"], json!([]));
}
