//! Organizations from being founded to a member's leaving.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use airouter_store::clients::Role;
use http::StatusCode;
use serde_json::{Value, json};
use support::{Answer, Somebody, World};

struct School {
    world: World,
    owner: Somebody,
    id: String,
    teacher: Somebody,
    /// The teacher's membership.
    membership: String,
}

impl School {
    async fn new() -> Self {
        let world = World::new().await;
        let owner = world.somebody(Role::Client).await;
        let teacher = world.somebody(Role::Client).await;
        let id = world.organization(&owner).await;
        let membership = world.joined(&owner, &id, &teacher).await;
        Self {
            world,
            owner,
            id,
            teacher,
            membership,
        }
    }

    async fn call(&self, who: &Somebody, method: &str, path: &str, body: Option<Value>) -> Answer {
        let token = self.world.token(who).await;
        let path = path
            .replace("{id}", &self.id)
            .replace("{teacher}", &self.membership);
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        let seen = self.world.call(&token, "GET", &path, None).await;
        let etag = seen.headers.get("etag").map(|tag| tag.to_str().unwrap());
        headers.extend(etag.map(|etag| ("if-match", etag)));
        self.world
            .send(method, &path, &headers, body.as_ref())
            .await
    }
}

#[tokio::test]
async fn an_owner_sees_and_limits_members_and_their_keys() {
    let school = School::new().await;
    let (owner, teacher) = (&school.owner, &school.teacher);
    let mine = school.call(teacher, "GET", "/v1/organizations", None).await;
    assert_eq!(mine.json()["data"][0]["role"], "member");
    assert_eq!(mine.json()["data"][0]["id"], json!(school.id));
    let rename = json!({"name": "College"});
    let renamed = school
        .call(owner, "PATCH", "/v1/organizations/{id}", Some(rename))
        .await;
    assert_eq!(renamed.json()["name"], "College", "{renamed:?}");

    let key = json!({"name": "a key", "organization_id": school.id});
    let key = school
        .call(teacher, "POST", "/v1/auth/api-keys", Some(key))
        .await
        .json();
    assert_eq!(key["payer_id"], json!(school.id));
    assert_eq!(key["owner_id"], json!(teacher.account));
    let keys = "/v1/organizations/{id}/api-keys";
    let listed = school.call(owner, "GET", keys, None).await.json();
    assert_eq!(listed["data"][0]["id"], key["id"]);
    let path = "/v1/organizations/{id}/members/{teacher}";
    let limits = json!({"daily_limit": "1", "monthly_limit": "5"});
    let limited = school.call(owner, "PATCH", path, Some(limits)).await;
    assert_eq!(limited.json()["monthly_limit"], "5", "{limited:?}");
    let lifted = json!({"daily_limit": null});
    let lifted = school.call(owner, "PATCH", path, Some(lifted)).await.json();
    assert_eq!(lifted["daily_limit"], Value::Null);
    assert_eq!(lifted["monthly_limit"], "5");
    let wrong = json!({"monthly_limit": "-1"});
    let wrong = school.call(owner, "PATCH", path, Some(wrong)).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);

    let one = format!("{keys}/{}", key["id"].as_str().unwrap());
    let revoked = school.call(owner, "DELETE", &one, None).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    let seen = school.call(teacher, "GET", "/v1/auth/api-keys", None).await;
    assert!(seen.json()["data"][0]["revoked_at"].is_string());
}

#[tokio::test]
async fn whoever_leaves_takes_no_key_along() {
    let school = School::new().await;
    let (owner, teacher) = (&school.owner, &school.teacher);
    let key = json!({"name": "a key", "organization_id": school.id});
    let made = school
        .call(teacher, "POST", "/v1/auth/api-keys", Some(key.clone()))
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    let path = "/v1/organizations/{id}/members/{teacher}";
    let left = school.call(teacher, "DELETE", path, None).await;
    assert_eq!(left.status, StatusCode::NO_CONTENT, "{left:?}");
    let seen = school.call(teacher, "GET", "/v1/auth/api-keys", None).await;
    assert!(seen.json()["data"][0]["revoked_at"].is_string());
    let again = school
        .call(teacher, "POST", "/v1/auth/api-keys", Some(key))
        .await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    let gone = school
        .call(teacher, "GET", "/v1/organizations/{id}", None)
        .await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);

    let members = "/v1/organizations/{id}/members";
    let listed = school.call(owner, "GET", members, None).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let last = format!("{members}/{}", listed["data"][0]["id"].as_str().unwrap());
    for (method, body) in [("DELETE", None), ("PATCH", Some(json!({"role": "member"})))] {
        let stays = school.call(owner, method, &last, body).await;
        assert_eq!(
            (stays.status, stays.code().as_str()),
            (StatusCode::CONFLICT, "last_owner")
        );
    }
}

#[tokio::test]
async fn an_invitation_is_for_one_address() {
    let school = School::new().await;
    let guest = school.world.somebody(Role::Client).await;
    let made = school
        .world
        .invited(&school.owner, &school.id, &guest.email)
        .await;
    let open = "/v1/organizations/{id}/invitations";
    let listed = school.call(&school.owner, "GET", open, None).await;
    assert_eq!(listed.json()["data"][0]["email"], json!(guest.email));
    assert!(listed.json()["data"][0].get("code").is_none());
    let accept = async |who, code: &Value| {
        let path = "/v1/organizations/invitations/accept";
        school
            .call(who, "POST", path, Some(json!({"code": code})))
            .await
    };
    for (who, code) in [
        (&school.teacher, &made["code"]),
        (&guest, &json!("air-org-nonsense")),
    ] {
        let refused = accept(who, code).await;
        assert_eq!(refused.code(), "no_such_invitation");
    }
    assert_eq!(accept(&guest, &made["code"]).await.status, StatusCode::OK);
    let twice = accept(&guest, &made["code"]).await;
    assert_eq!(twice.code(), "no_such_invitation");
    for body in [
        json!({"email": "nobody", "role": "member"}),
        json!({"email": "ann@example.com", "role": "king"}),
    ] {
        let refused = school.call(&school.owner, "POST", open, Some(body)).await;
        assert!(refused.status.is_client_error(), "{refused:?}");
    }
}

#[tokio::test]
async fn the_operator_credits_an_organization() {
    let school = School::new().await;
    let admin = school.world.somebody(Role::Admin).await;
    let booking = json!({"amount": "25", "reason": "invoice 7"});
    let path = "/v1/admin/clients/{id}/credit";
    let credited = school.call(&admin, "POST", path, Some(booking)).await;
    assert_eq!(credited.status, StatusCode::OK, "{credited:?}");
    let path = "/v1/organizations/{id}/balance";
    let balance = school.call(&school.owner, "GET", path, None).await;
    assert_eq!(balance.json()["balance"], "25");
    let found = school
        .call(&admin, "GET", "/v1/admin/clients/{id}", None)
        .await;
    assert_eq!(found.json()["kind"], "organization");
    let books = school.world.store.verify().await.unwrap();
    assert_eq!(books.findings, []);
}
