//! Operator tokens: what scripts of the operator send.

mod support;

use airouter_store::audit::AuditEntry;
use airouter_store::client_admin::AccountStatus;
use airouter_store::clients::Role;
use serde_json::{Value, json};
use support::World;

const TOKENS: &str = "/v1/admin/operator-tokens";

#[tokio::test]
async fn what_a_token_does_is_told_with_its_name() {
    let world = World::new().await;
    let admin = world.somebody(Role::Admin).await;
    let client = world.somebody(Role::Client).await;
    let made = world.operator_token(&admin, &["money:write"]).await;
    let token = made["token"].as_str().unwrap();
    let path = format!("/v1/admin/clients/{}/credit", client.account);
    let booking = json!({"amount": "5", "reason": "invoice 1"});
    let booked = world.call(token, "POST", &path, Some(&booking)).await;
    assert_eq!(booked.json()["balance"], "5", "{booked:?}");

    let login = world.token(&admin).await;
    let log = world
        .call(&login, "GET", "/v1/admin/audit-log", None)
        .await
        .json();
    let last = log["data"].as_array().unwrap().last().unwrap().clone();
    let actor = format!("{} (token a script)", admin.email);
    assert_eq!(
        (&last["action"], &last["actor"]),
        (&json!("client.credit"), &json!(actor))
    );
    assert_eq!(last["actor_id"], json!(admin.user.get()));
    let list = world.call(&login, "GET", TOKENS, None).await;
    let [listed] = list.json()["data"]
        .as_array()
        .unwrap()
        .clone()
        .try_into()
        .unwrap();
    assert_eq!(listed["last_used_at"], "2026-11-20T12:00:00Z");
    assert_eq!(listed["scopes"], json!(["money:write"]));
    assert!(!list.json().to_string().contains(token));
    assert!(!log.to_string().contains(token));
}

#[tokio::test]
async fn a_token_holds_as_long_as_its_maker_is_an_administrator() {
    let world = World::new().await;
    let admin = world.somebody(Role::Admin).await;
    let made = world.operator_token(&admin, &["clients:read"]).await;
    let token = made["token"].as_str().unwrap();
    let status = async || {
        world
            .call(token, "GET", "/v1/admin/clients", None)
            .await
            .status
    };
    assert_eq!(status().await, 200);
    let entry = AuditEntry {
        actor: "a test".to_owned(),
        actor_id: None,
        address: None,
        action: "client.disable".to_owned(),
        subject: admin.account.get(),
        reason: None,
        before: None,
        after: None,
        at: world.now(),
    };
    let set = async |status| {
        world
            .store
            .set_client_status(admin.account, status, &entry)
            .await
    };
    set(AccountStatus::Disabled).await.unwrap();
    assert_eq!(status().await, 401);
    set(AccountStatus::Active).await.unwrap();
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn what_can_be_no_token_is_refused() {
    let world = World::new().await;
    let admin = world.somebody(Role::Admin).await;
    let login = world.token(&admin).await;
    let good = json!({"name": "a script", "scopes": ["clients:read"]});
    for (field, value, status) in [
        ("name", json!("a\nb"), 422),
        ("scopes", json!([]), 422),
        ("scopes", json!(["everything"]), 400),
        ("expires_in_days", json!(0), 422),
        ("expires_in_days", json!(367), 422),
        ("expires_in_days", json!(366), 201),
        ("owner", json!("somebody"), 400),
        ("scopes", Value::Null, 400),
    ] {
        let mut request = good.clone();
        request[field] = value;
        let answer = world.call(&login, "POST", TOKENS, Some(&request)).await;
        assert_eq!(answer.status.as_u16(), status, "{field}: {answer:?}");
    }
}
