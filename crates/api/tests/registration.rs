//! Who may register.

mod support;

use airouter_api::RegistrationMode;
use airouter_store::clients::Role;
use serde_json::{Value, json};
use support::{Answer, PASSWORD, World};

const INVITATIONS: &str = "/v1/admin/invitations";

async fn register(world: &World, email: &str, invitation: Option<&str>) -> Answer {
    let mut registration = json!({"email": email, "password": PASSWORD, "name": "Ann"});
    if let Some(code) = invitation {
        registration["invitation"] = code.into();
    }
    world.post("/v1/auth/register", &registration).await
}

async fn invite(world: &World, admin: &str, request: &Value) -> Value {
    let made = world.call(admin, "POST", INVITATIONS, Some(request)).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()
}

#[tokio::test]
async fn nobody_registers_where_that_is_closed() {
    let world = World::where_registration_is(RegistrationMode::Closed).await;
    let admin = world.somebody(Role::Admin).await;
    let admin = world.token(&admin).await;
    let code = invite(&world, &admin, &json!({})).await["code"].clone();
    for invitation in [None, code.as_str()] {
        let refused = register(&world, "ann@example.com", invitation).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (403, "registration_closed")
        );
    }
}

#[tokio::test]
async fn an_invitation_is_good_for_one_login() {
    let world = World::where_registration_is(RegistrationMode::Invitation).await;
    let admin = world.somebody(Role::Admin).await;
    let admin = world.token(&admin).await;
    let refused = async |email, invitation| {
        let refused = register(&world, email, invitation).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (403, "invitation_needed")
        );
    };
    refused("ann@example.com", None).await;
    refused("ann@example.com", Some("air-inv-nonsense")).await;

    let made = invite(&world, &admin, &json!({"email": "Ann@example.com"})).await;
    let code = made["code"].as_str().unwrap();
    refused("bob@example.com", Some(code)).await;
    let registered = register(&world, "ann@example.com", Some(code)).await;
    assert_eq!(registered.status, 201, "{registered:?}");
    refused("ann@example.com", Some(code)).await;

    let list = world.call(&admin, "GET", INVITATIONS, None).await.json();
    assert_eq!(list["data"][0]["used_by"], registered.json()["id"]);
    assert!(!list.to_string().contains(code));
    let path = format!("{INVITATIONS}/{}", made["id"].as_str().unwrap());
    let too_late = world.call(&admin, "DELETE", &path, None).await;
    assert_eq!(too_late.status, 404);
}

#[tokio::test]
async fn an_invitation_ends() {
    let world = World::where_registration_is(RegistrationMode::Invitation).await;
    let admin = world.somebody(Role::Admin).await;
    let token = world.token(&admin).await;
    let revoked = invite(&world, &token, &json!({})).await;
    let path = format!("{INVITATIONS}/{}", revoked["id"].as_str().unwrap());
    assert_eq!(world.call(&token, "DELETE", &path, None).await.status, 204);
    let expired = invite(&world, &token, &json!({"expires_in_days": 1})).await;
    let lasting = invite(&world, &token, &json!({"expires_in_days": 2})).await;
    world.pass(24 * 3600);
    for (made, status) in [(revoked, 403), (expired, 403), (lasting, 201)] {
        let answer = register(&world, "ann@example.com", made["code"].as_str()).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    }
    let token = world.token(&admin).await;
    let log = world.call(&token, "GET", "/v1/admin/audit-log", None).await;
    let actions: Vec<Value> = log.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].clone())
        .collect();
    let create = "invitation.create";
    assert_eq!(actions, [create, "invitation.revoke", create, create]);
}

#[tokio::test]
async fn days_are_within_bounds() {
    let world = World::new().await;
    let admin = world.somebody(Role::Admin).await;
    let token = world.token(&admin).await;
    for (days, status) in [(0, 422), (1, 201), (90, 201), (91, 422)] {
        let request = json!({"expires_in_days": days});
        let answer = world
            .call(&token, "POST", INVITATIONS, Some(&request))
            .await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    }
}
