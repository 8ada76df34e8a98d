//! Single requests: who sees what of them, how their prices came about, and what is given back.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use airouter_billing::UsageEvent;
use airouter_billing::price_book::{OutputLimit, RawPricing};
use airouter_store::audit::{AuditVerification, verify_audit};
use airouter_store::clients::Role;
use airouter_store::conformance::World as Books;
use airouter_store::prices::{ListedModel, PriceProvider};
use http::StatusCode;
use serde_json::{Value, json};
use support::{Answer, Somebody, World};

/// What a client must not find in what it is told.
const OPERATORS_WORDS: [&str; 6] = [
    "\"cost\"",
    "margin",
    "discount",
    "master",
    "loss",
    "plan_version",
];

struct Office {
    world: World,
    books: Books,
    admin: String,
    client: Somebody,
    token: String,
}

impl Office {
    async fn new() -> Self {
        let world = World::new().await;
        let admin = world.somebody(Role::Admin).await;
        let client = world.somebody(Role::Client).await;
        Self {
            books: world.books().await,
            admin: world.token(&admin).await,
            token: world.token(&client).await,
            client,
            world,
        }
    }

    async fn request(&self) -> UsageEvent {
        self.world.request(&self.books, &self.client).await
    }

    async fn as_client(&self, path: &str) -> Answer {
        self.world.call(&self.token, "GET", path, None).await
    }

    async fn as_admin(&self, path: &str) -> Answer {
        self.world.call(&self.admin, "GET", path, None).await
    }

    async fn refund(&self, id: &str, key: Option<&str>, body: Value) -> Answer {
        let bearer = format!("Bearer {}", self.admin);
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        let path = format!("/v1/admin/logs/{id}/refund");
        self.world.send("POST", &path, &headers, Some(&body)).await
    }

    async fn list_prices(&self) {
        let price = |name: &str, price: &str| (name.to_owned(), price.to_owned());
        let model = ListedModel {
            id: "test/model-2026".to_owned(),
            pricing: RawPricing {
                prices: vec![
                    price("prompt", "0.0000005"),
                    price("completion", "0.000002"),
                    price("input_cache_read", "0.00000005"),
                ],
                overrides: Vec::new(),
            },
            context_length: None,
            max_completion_tokens: None,
            output_limit: OutputLimit::Supported,
            listing: "{}".to_owned(),
            served_as: None,
        };
        let (models, at) = ([model], self.world.now());
        let store = &self.world.store;
        let recorded = store.record_models(PriceProvider::OpenRouter, &models, at);
        recorded.await.unwrap();
    }
}

fn ids(answer: &Answer) -> Vec<String> {
    let page = answer.json();
    let requests = page["data"].as_array().unwrap();
    let id = |request: &Value| request["id"].as_str().unwrap().to_owned();
    requests.iter().map(id).collect()
}

#[tokio::test]
async fn a_client_sees_its_own_requests_and_nothing_of_the_operators() {
    let office = Office::new().await;
    let mut own = Vec::new();
    for _ in 0..3 {
        own.insert(0, office.request().await);
    }
    let stranger = office.world.somebody(Role::Client).await;
    let others = office.world.request(&office.books, &stranger).await;
    let own_ids: Vec<_> = own
        .iter()
        .map(|event| event.request.id.to_string())
        .collect();

    let first = office.as_client("/v1/client/recent-requests?limit=2").await;
    assert_eq!(ids(&first), own_ids[..2], "{first:?}");
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let path = format!("/v1/client/recent-requests?limit=2&cursor={cursor}");
    let last = office.as_client(&path).await;
    assert_eq!(ids(&last), own_ids[2..]);
    assert_eq!(last.json()["next_cursor"], json!(null));
    let told = &first.json()["data"][0];
    assert_eq!(told["model"], "test/model-2026");
    assert_eq!(told["admitted_at"], "2026-11-20T12:00:00Z");
    assert_eq!(
        (&told["price"], &told["charged"]),
        (&json!("0.0008"), &json!("0.0008"))
    );
    assert_eq!(
        (&told["prompt_tokens"], &told["refunded"]),
        (&json!(1000), &json!("0"))
    );

    let detail = office
        .as_client(&format!("/v1/client/requests/{}", own_ids[0]))
        .await;
    assert_eq!(detail.json()["request"], *told);
    for answer in [&first, &detail] {
        let text = std::str::from_utf8(&answer.body).unwrap();
        for word in OPERATORS_WORDS {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }
    let path = format!("/v1/client/requests/{}", others.request.id);
    assert_eq!(office.as_client(&path).await.code(), "not_found");

    let key = own[1].request.api_key;
    let path = format!("/v1/client/recent-requests?key_id={key}");
    assert_eq!(ids(&office.as_client(&path).await), own_ids[1..2]);
    let path = format!(
        "/v1/client/recent-requests?key_id={}",
        others.request.api_key
    );
    assert_eq!(ids(&office.as_client(&path).await), [""; 0]);
    let all = office.as_admin("/v1/admin/logs").await;
    assert_eq!(ids(&all).len(), 4);
    let path = format!("/v1/admin/logs?client_id={}", stranger.account);
    let log = office.as_admin(&path).await.json();
    assert_eq!(log["data"][0]["cost"], "0.0003");
    assert_eq!(log["data"][0]["margin"], "0.0005");
    assert_eq!(log["data"][0]["client_name"], "Ada");
}

#[tokio::test]
async fn what_a_list_cant_be_asked_is_refused() {
    let office = Office::new().await;
    let refused = async |query: &str| {
        let path = format!("/v1/client/recent-requests?{query}");
        office.as_client(&path).await.status.as_u16()
    };
    for malformed in [
        "outcome=charged",
        "ending=well",
        "from=yesterday",
        "key_id=1",
        "format=xml",
    ] {
        assert_eq!(refused(malformed).await, 400, "{malformed}");
    }
    let long = format!("model={}", "x".repeat(257));
    for impossible in [
        "limit=0",
        "limit=201",
        "format=csv&limit=2001",
        "cursor=x",
        &long,
    ] {
        assert_eq!(refused(impossible).await, 422, "{impossible}");
    }
    for possible in [
        "from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00%2B01:00",
        "ending=client_gone&model=a%00b",
        "limit=200",
        "format=csv&limit=2000",
    ] {
        assert_eq!(refused(possible).await, 200, "{possible}");
    }
}

#[tokio::test]
async fn a_list_is_csv_too() {
    let office = Office::new().await;
    for _ in 0..2 {
        office.request().await;
    }
    for path in ["/v1/client/recent-requests", "/v1/admin/logs"] {
        let token = match path.contains("admin") {
            true => &office.admin,
            false => &office.token,
        };
        let list = office.world.call(token, "GET", path, None).await.json();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("accept", "text/csv")];
        let one = format!("{path}?limit=1");
        let first = office.world.send("GET", &one, &headers, None).await;
        assert_eq!(first.status, StatusCode::OK, "{first:?}");
        assert_eq!(
            first.headers["content-type"],
            "text/csv; charset=utf-8; header=present"
        );
        let cursor = first.headers["x-next-cursor"].to_str().unwrap();
        let rest = format!("{path}?format=csv&cursor={cursor}");
        let rest = office.world.call(token, "GET", &rest, None).await;
        assert!(!rest.headers.contains_key("x-next-cursor"));
        for (answer, request) in [(&first, &list["data"][0]), (&rest, &list["data"][1])] {
            let text = std::str::from_utf8(&answer.body).unwrap();
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines.len(), 2);
            let values: Vec<_> = lines[1].split(',').collect();
            for (column, value) in lines[0].split(',').zip(values) {
                let expected = match &request[column] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(value, expected, "{column}");
            }
        }
    }
}

#[tokio::test]
async fn a_price_is_worked_out_line_by_line() {
    let office = Office::new().await;
    office.list_prices().await;
    let id = office.request().await.request.id;
    let client = office.as_client(&format!("/v1/client/requests/{id}")).await;
    let admin = office.as_admin(&format!("/v1/admin/logs/{id}")).await;
    let line = |what: &str, quantity: &str, rate: &str, amount: &str| json!({"what": what, "quantity": quantity, "rate": rate, "amount": amount});
    let expected = json!({
        "lines": [line("list_cost", "0.001", "0.8", "0.0008")],
        "price": "0.0008",
        "cross_check": {
            "lines": [
                line("prompt", "872", "0.0000005", "0.000436"),
                line("input_cache_read", "128", "0.00000005", "0.0000064"),
                line("completion", "200", "0.000002", "0.0004"),
            ],
            "sum": "0.0008424",
            "list_cost": "0.001",
            "difference": "0.0001576",
        },
    });
    assert_eq!(client.json()["worked_out"], expected);
    assert_eq!(admin.json()["worked_out"], expected);
    assert_eq!(admin.json()["discount"], "0.7");
    assert_eq!(admin.json()["refunds"], json!([]));
}

#[tokio::test]
async fn a_request_is_refunded_once_for_a_key_and_never_beyond_its_charge() {
    let office = Office::new().await;
    let id = office.request().await.request.id.to_string();
    let balance = async || {
        let balance = office.as_client("/v1/client/balance").await.json();
        balance["balance"].as_str().unwrap().to_owned()
    };
    assert_eq!(balance().await, "0");
    let part = json!({"amount": "0.0003", "reason": "a test"});
    let first = office.refund(&id, Some("a"), part.clone()).await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    assert_eq!(first.json()["refunded"], "0.0003");
    let again = office.refund(&id, Some("a"), part).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    let all = json!({"reason": "a test"});
    let other = office.refund(&id, Some("a"), all.clone()).await;
    assert_eq!(other.code(), "idempotency_key_reused");
    let above = json!({"amount": "0.000500001", "reason": "a test"});
    let above = office.refund(&id, None, above).await;
    assert_eq!(
        (above.status, above.code().as_str()),
        (StatusCode::CONFLICT, "refund_too_large")
    );
    assert!(
        above.json()["detail"]
            .as_str()
            .unwrap()
            .contains("0.0005 USD")
    );
    let rest = office.refund(&id, Some("b"), all.clone()).await;
    assert_eq!(rest.json()["amount"], "0.0005");
    assert_eq!(
        office.refund(&id, None, all.clone()).await.code(),
        "refund_too_large"
    );
    assert_eq!(balance().await, "0.0008");

    for amount in ["0", "-1"] {
        let wrong = json!({"amount": amount, "reason": "a test"});
        assert_eq!(
            office.refund(&id, None, wrong).await.status,
            StatusCode::UNPROCESSABLE_ENTITY
        );
    }
    let nobodys = uuid::Uuid::now_v7().to_string();
    assert_eq!(
        office.refund(&nobodys, None, all).await.status,
        StatusCode::NOT_FOUND
    );

    let detail = office
        .as_admin(&format!("/v1/admin/logs/{id}"))
        .await
        .json();
    assert_eq!(detail["request"]["refunded"], "0.0008");
    assert_eq!(detail["request"]["margin"], "-0.0003");
    let amounts: Vec<_> = detail["refunds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refund| refund["amount"].as_str().unwrap())
        .collect();
    assert_eq!(amounts, ["0.0003", "0.0005"]);
    let refunded = office.as_admin("/v1/admin/logs?outcome=refunded").await;
    assert_eq!(ids(&refunded), [id.as_str()]);
    let told = office.as_client(&format!("/v1/client/requests/{id}")).await;
    assert_eq!(told.json()["request"]["refunded"], "0.0008");

    let log = office
        .as_admin("/v1/admin/audit-log?action=request.refund")
        .await
        .json();
    let entries = log["data"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["action"], "request.refund");
    assert_eq!(entries[1]["subject_id"], id.as_str());
    assert_eq!(entries[1]["before"], json!({"refunded": "0.0003"}));
    assert_eq!(entries[1]["after"], json!({"refunded": "0.0008"}));
    let verified = verify_audit(&*office.world.store).await.unwrap();
    assert_eq!(verified, AuditVerification::Whole(3));
    assert_eq!(office.world.store.verify().await.unwrap().findings, []);
}
