//! The operator's inventory: master accounts, plans, tiers, what is on sale, prices.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use airouter_store::clients::Role;
use serde_json::{Value, json};
use support::{Answer, World};

const ACCOUNTS: &str = "/v1/admin/master-accounts";
const KEY: &str = "sk-or-v1-0123456789abcdef-very-secret";

struct Operator {
    world: World,
    token: String,
}

impl Operator {
    async fn new() -> Self {
        let world = World::new().await;
        let admin = world.somebody(Role::Admin).await;
        let token = world.token(&admin).await;
        world.model("openai/gpt-4o-mini").await;
        Self { world, token }
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.world
            .call(&self.token, method, path, body.as_ref())
            .await
    }

    async fn seeing(&self, tag: &str, method: &str, path: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("if-match", tag)];
        self.world.send(method, path, &headers, Some(&body)).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    async fn does(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.send(method, path, Some(body)).await;
        assert!(answer.status.is_success(), "{answer:?}");
        answer.json()
    }

    async fn refused(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        let answer = self.send(method, path, Some(body)).await;
        (answer.status.as_u16(), answer.code())
    }

    async fn tag(&self, path: &str) -> String {
        let answer = self.send("GET", path, None).await;
        answer.headers["etag"].to_str().unwrap().to_owned()
    }

    async fn last_entry(&self) -> Value {
        let log = self.get("/v1/admin/audit-log?limit=200").await;
        log["data"].as_array().unwrap().last().unwrap().clone()
    }
}

#[tokio::test]
async fn a_master_account_is_added_changed_and_tested() {
    let operator = Operator::new().await;
    let new = json!({"name": "second", "key": KEY, "discount_percent": "65", "reason": "cheap"});
    let account = operator.does("POST", ACCOUNTS, new.clone()).await;
    assert_eq!(
        (&account["name"], &account["status"]),
        (&json!("second"), &json!("active"))
    );
    assert_eq!(account["base_url"], "https://upstream.example/api/v1");
    assert_eq!(account["discount_percent"], "65");
    assert_eq!(account["health"]["breaker"], "closed");
    assert_eq!(account["health"]["keys"][0]["breaker"], "half_open");
    let entry = operator.last_entry().await;
    assert_eq!(
        (&entry["action"], &entry["reason"]),
        (&json!("master_account.add"), &json!("cheap"))
    );
    assert_eq!(entry["subject_id"], account["id"]);

    let path = format!("{ACCOUNTS}/{}", account["id"].as_str().unwrap());
    let tag = operator.tag(&path).await;
    let change = json!({
        "weight": 3, "most_share_percent": 60, "agreement": "2026-117",
        "agreement_ends_at": "2027-06-30T00:00:00Z", "management_key": "sk-or-mgmt-secret"
    });
    let changed = operator.seeing(&tag, "PATCH", &path, change).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let changed = changed.json();
    assert_eq!(
        (&changed["weight"], &changed["most_share_percent"]),
        (&json!(3), &json!(60))
    );
    assert_eq!(changed["agreement_ends_at"], "2027-06-30T00:00:00Z");
    assert_eq!(changed["management_key"].as_str().unwrap().len(), 12);
    let entry = operator.last_entry().await;
    assert_eq!(
        (&entry["before"]["weight"], &entry["after"]["weight"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(entry["after"].get("base_url"), None);

    // The second of two who have seen the same.
    let late = operator
        .seeing(&tag, "PATCH", &path, json!({"weight": 9}))
        .await;
    assert_eq!(
        (late.status.as_u16(), late.code().as_str()),
        (412, "changed_meanwhile")
    );
    let blind = operator.refused("PATCH", &path, json!({"weight": 9})).await;
    assert_eq!(blind, (428, "if_match_missing".to_owned()));

    let tested = operator
        .send("POST", &format!("{path}/test"), None)
        .await
        .json();
    assert_eq!(
        (
            &tested["all_accepted"],
            tested["keys"].as_array().unwrap().len()
        ),
        (&json!(true), 1)
    );
    let keys = format!("{path}/keys");
    let bad = operator
        .does("POST", &keys, json!({"key": "a-bad-key"}))
        .await;
    let tested = operator
        .send("POST", &format!("{path}/test"), None)
        .await
        .json();
    assert_eq!(
        (&tested["all_accepted"], &tested["keys"][1]["accepted"]),
        (&json!(false), &json!(false))
    );
    let bad = format!("{keys}/{}", bad["id"].as_str().unwrap());
    assert_eq!(operator.send("DELETE", &bad, None).await.status, 204);
    assert_eq!(operator.send("DELETE", &bad, None).await.status, 404);
    let first = format!("{keys}/{}", account["id"].as_str().unwrap());
    let last = operator.send("DELETE", &first, None).await;
    assert_eq!(
        (last.status.as_u16(), last.code().as_str()),
        (409, "last_key")
    );
    for (verb, status) in [
        ("pause", "paused"),
        ("resume", "active"),
        ("drain", "draining"),
        ("pause", "paused"),
    ] {
        let now = operator
            .does("POST", &format!("{path}/{verb}"), json!({}))
            .await;
        assert_eq!(now["status"], status);
    }
    assert_eq!(operator.send("DELETE", &first, None).await.status, 204);
    let all = operator.send("GET", ACCOUNTS, None).await;
    let log = operator
        .send("GET", "/v1/admin/audit-log?limit=200", None)
        .await;
    for answer in [&all, &log] {
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn what_can_be_no_master_account_is_refused() {
    let operator = Operator::new().await;
    operator
        .does("POST", ACCOUNTS, json!({"name": "one", "key": KEY}))
        .await;
    for (body, expected) in [
        (json!({"name": "one", "key": "other"}), (409, "exists")),
        (json!({"name": "two", "key": KEY}), (409, "exists")),
        (json!({"name": "two"}), (422, "invalid_value")),
        (
            json!({"name": "two", "key": "with space"}),
            (422, "invalid_value"),
        ),
        (json!({"name": "a\nb", "key": "k"}), (422, "invalid_value")),
        (
            json!({"kind": "compatible", "key": "k"}),
            (422, "invalid_value"),
        ),
        (
            json!({"key": "k", "base_url": "ftp://x"}),
            (422, "invalid_value"),
        ),
        (
            json!({"key": "k", "discount_percent": "100"}),
            (422, "invalid_value"),
        ),
        (
            json!({"key": "k", "discount_percent": "x"}),
            (422, "invalid_value"),
        ),
        (json!({"key": "k", "weight": 1}), (400, "malformed_request")),
    ] {
        let refused = operator.refused("POST", ACCOUNTS, body.clone()).await;
        assert_eq!(refused, (expected.0, expected.1.to_owned()), "{body}");
    }
    assert_eq!(
        operator.get(ACCOUNTS).await["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let unknown = format!("{ACCOUNTS}/{}/pause", uuid::Uuid::now_v7());
    assert_eq!(operator.refused("POST", &unknown, json!({})).await.0, 404);
}

#[tokio::test]
async fn a_compatible_server_has_a_price_table() {
    let operator = Operator::new().await;
    let new = json!({"name": "spare", "kind": "compatible", "base_url": "http://server/v1"});
    let account = operator.does("POST", ACCOUNTS, new).await;
    let path = format!("{ACCOUNTS}/{}/prices", account["id"].as_str().unwrap());
    let small =
        |prompt| json!({"context_length": 8000, "prompt": prompt, "completion": "0.000004"});
    let table = json!({"acme/small": small("0.000001")});
    let set = operator.does("PUT", &path, table.clone()).await;
    assert_eq!(set, json!({"models": 1, "new_prices": 1}));
    let set = operator.does("PUT", &path, table).await;
    assert_eq!(set["new_prices"], 0);
    let prices = operator.get(&path).await;
    assert_eq!(
        prices["data"][0]["list"],
        json!({"prompt": "0.000001", "completion": "0.000004"})
    );
    let wrong = json!({"acme/small": small("-1")});
    assert_eq!(operator.refused("PUT", &path, wrong).await.0, 422);
    let history = operator
        .get("/v1/admin/prices/history?model=acme/small")
        .await;
    assert_eq!(history["data"].as_array().unwrap().len(), 1);
    assert_eq!(history["data"][0]["is_in_force"], true);

    let other = operator.does("POST", ACCOUNTS, json!({"key": KEY})).await;
    let path = format!("{ACCOUNTS}/{}/prices", other["id"].as_str().unwrap());
    let refused = operator.refused("PUT", &path, json!({})).await;
    assert_eq!(refused, (409, "of_another_kind".to_owned()));
}

#[tokio::test]
async fn plans_have_versions_that_may_be_scheduled() {
    let operator = Operator::new().await;
    let plans = "/v1/admin/plans";
    let terms = |factor: &str| json!({"rule": {"rule": "percent_of_list", "factor": factor}});
    let made = operator
        .does(
            "POST",
            plans,
            json!({"name": "a school", "terms": terms("0.9")}),
        )
        .await;
    let path = format!("{plans}/a%20school");
    let tag = operator.tag(&path).await;
    let change = json!({"terms": terms("0.7"), "reason": "spring"});
    let changed = operator
        .seeing(&tag, "PUT", &path, change.clone())
        .await
        .json();
    assert_ne!(changed["version"], made["version"]);
    assert_eq!(changed["terms"]["rule"]["factor"], "0.7");
    let late = operator.seeing(&tag, "PUT", &path, change).await;
    assert_eq!(late.status, 412);
    let versions = operator.get(&format!("{path}/versions?limit=1")).await;
    assert_eq!(versions["data"][0]["version"], changed["version"]);
    let cursor = versions["next_cursor"].as_str().unwrap();
    let versions = operator
        .get(&format!("{path}/versions?cursor={cursor}"))
        .await;
    assert_eq!(versions["data"][0]["version"], made["version"]);
    assert_eq!(versions["next_cursor"], Value::Null);
    let bad = operator
        .seeing("*", "PUT", &path, json!({"terms": terms("-1")}))
        .await;
    assert_eq!(
        (bad.status.as_u16(), bad.json()["field"].as_str()),
        (422, Some("terms"))
    );

    let schedule = format!("{path}/schedule");
    let past = json!({"terms": terms("0.6"), "effective_from": "2026-11-20T12:00:00Z"});
    assert_eq!(operator.refused("POST", &schedule, past).await.0, 422);
    let soon = json!({"terms": terms("0.6"), "effective_from": "2026-11-20T13:00:00Z"});
    let soon = operator.does("POST", &schedule, soon.clone()).await;
    assert_eq!(operator.get(&schedule).await["data"][0]["id"], soon["id"]);
    let cancel = format!("{schedule}/{}", soon["id"].as_str().unwrap());
    assert_eq!(operator.send("DELETE", &cancel, None).await.status, 204);
    assert_eq!(operator.get(&schedule).await["data"], json!([]));
    let log = operator
        .get("/v1/admin/audit-log?subject=plan:a%20school")
        .await;
    let actions: Vec<&str> = log["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "plan.create",
            "plan.set",
            "plan.schedule",
            "plan.unschedule"
        ]
    );
}

#[tokio::test]
async fn tiers_models_and_aliases_are_changed() {
    let operator = Operator::new().await;
    let tier = "/v1/admin/tiers/gold";
    operator
        .does("PUT", tier, json!({"monthly_limit": "12.5"}))
        .await;
    let blind = operator
        .refused("PUT", tier, json!({"monthly_limit": null}))
        .await;
    assert_eq!(blind, (428, "if_match_missing".to_owned()));
    let tag = operator.tag(tier).await;
    let lifted = operator
        .seeing(&tag, "PUT", tier, json!({"monthly_limit": null}))
        .await;
    assert_eq!(lifted.json()["monthly_limit"], Value::Null);
    for wrong in [
        json!({}),
        json!({"monthly_limit": "-1"}),
        json!({"monthly_limit": "1000000001"}),
    ] {
        let refused = operator.seeing("*", "PUT", tier, wrong.clone()).await;
        assert_eq!(refused.status, 422, "{wrong}");
    }
    assert_eq!(operator.send("DELETE", tier, None).await.status, 204);
    assert_eq!(operator.send("GET", tier, None).await.status, 404);

    let model = "/v1/admin/models/openai%2Fgpt-4o-mini";
    let hidden = operator
        .does("PATCH", model, json!({"state": "hidden"}))
        .await;
    assert_eq!(
        (&hidden["state"], &hidden["id"]),
        (&json!("hidden"), &json!("openai/gpt-4o-mini"))
    );
    let listed = operator.get("/v1/admin/models?state=hidden").await;
    assert_eq!(listed["data"], json!([hidden]));
    let alias = "/v1/admin/aliases/our%2Ffast";
    let unknown = operator
        .refused("PUT", alias, json!({"models": ["no/such"]}))
        .await;
    assert_eq!(unknown.0, 422);
    operator
        .does("PUT", alias, json!({"models": ["openai/gpt-4o-mini"]}))
        .await;
    assert_eq!(operator.get(alias).await["name"], "our/fast");
    let default = "/v1/admin/default-model";
    operator
        .does("PUT", default, json!({"model": "our/fast"}))
        .await;
    assert_eq!(operator.get(default).await["model"], "our/fast");
    assert_eq!(
        operator
            .refused("PUT", default, json!({"model": "no/such"}))
            .await
            .0,
        422
    );
    assert_eq!(operator.send("DELETE", alias, None).await.status, 204);
    assert_eq!(operator.get("/v1/admin/aliases").await["data"], json!([]));
    let log = operator
        .get("/v1/admin/audit-log?action=alias&actor=nobody")
        .await;
    assert_eq!(log["data"], json!([]));
    let log = operator
        .get("/v1/admin/audit-log?action=alias&until=2026-11-20T12:00:01Z")
        .await;
    assert_eq!(log["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn prices_stand_beside_what_a_plan_makes_of_them() {
    let operator = Operator::new().await;
    operator.does("POST", ACCOUNTS, json!({"key": KEY})).await;
    let prices = operator
        .get("/v1/admin/prices?search=gpt&plan=default")
        .await;
    assert_eq!(prices["data"].as_array().unwrap().len(), 1);
    let price = &prices["data"][0];
    assert_eq!(
        price["list"],
        json!({"prompt": "0.000001", "completion": "0.000002"})
    );
    assert_eq!(
        price["client"],
        json!({"prompt": "0.0000008", "completion": "0.0000016"})
    );
    let unknown = operator
        .send("GET", "/v1/admin/prices?plan=none", None)
        .await;
    assert_eq!(unknown.status, 422);
    let settings = operator.get("/v1/admin/settings").await;
    assert_eq!(settings["settings"][0]["value"], "open");
}
