//! Registering, logging in, refreshing, and what is refused.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use airouter_api::RequestBody;
use airouter_store::clients::Role;
use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use http::{Request, StatusCode};
use serde_json::json;
use support::{Answer, PASSWORD, World};

const LOGIN: &str = "/v1/auth/login";
const REFRESH: &str = "/v1/auth/refresh";

async fn log_in(world: &World, email: &str, password: &str) -> Answer {
    world
        .post(LOGIN, &json!({"email": email, "password": password}))
        .await
}

async fn refresh(world: &World, token: &str) -> Answer {
    world.post(REFRESH, &json!({"refresh_token": token})).await
}

/// The value of a cookie that an answer sets, and its attributes.
fn cookie(answer: &Answer, name: &str) -> (String, String) {
    let found = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .find_map(|value| {
            let (pair, attributes) = value.to_str().unwrap().split_once(';').unwrap();
            let (found, value) = pair.split_once('=').unwrap();
            (found == name).then(|| (value.to_owned(), attributes.to_owned()))
        });
    found.unwrap()
}

#[tokio::test]
async fn whoever_registers_can_log_in() {
    let world = World::new().await;
    let registration = json!({"email": "Ann@example.com", "password": PASSWORD, "name": "Ann"});
    let registered = world.post("/v1/auth/register", &registration).await;
    assert_eq!(registered.status, StatusCode::CREATED, "{registered:?}");
    let user = registered.json();
    assert_eq!(user["email"], "Ann@example.com");
    assert_eq!(
        (&user["role"], &user["mode"]),
        (&json!("client"), &json!("prepaid"))
    );
    let again = world.post("/v1/auth/register", &registration).await;
    assert_eq!(
        (again.status, again.code().as_str()),
        (StatusCode::CONFLICT, "exists")
    );

    let login = log_in(&world, "ann@EXAMPLE.com", PASSWORD).await;
    assert_eq!(login.status, StatusCode::OK, "{login:?}");
    let tokens = login.json();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 900);
    assert_eq!(tokens["user"], user);
    let me = world
        .call(
            tokens["access_token"].as_str().unwrap(),
            "GET",
            "/v1/auth/me",
            None,
        )
        .await;
    assert_eq!(me.json(), user);
    for (header, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(me.headers[header], value);
    }
}

#[tokio::test]
async fn what_cant_be_registered_is_refused() {
    let world = World::new().await;
    let good = json!({"email": "ann@example.com", "password": PASSWORD, "name": "Ann"});
    for (field, value) in [
        ("email", json!("ann")),
        ("email", json!("")),
        ("name", json!("a\u{0}b")),
        ("name", json!("")),
        ("password", json!("short")),
        ("password", json!("x".repeat(1025))),
    ] {
        let mut wrong = good.clone();
        wrong[field] = value;
        let refused = world.post("/v1/auth/register", &wrong).await;
        assert_eq!(
            refused.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{refused:?}"
        );
        assert_eq!(refused.json()["field"], field);
    }
    for (field, value) in [
        ("email", json!(1)),
        ("role", json!("admin")),
        ("password", json!(null)),
    ] {
        let mut wrong = good.clone();
        wrong[field] = value;
        let refused = world.post("/v1/auth/register", &wrong).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{refused:?}");
        assert_eq!(refused.headers["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn nobody_learns_whether_a_login_exists() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    let wrong = log_in(&world, &client.email, "not the password").await;
    let unknown = log_in(&world, "nobody@example.com", "not the password").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!((wrong.status, wrong.body), (unknown.status, unknown.body));
    for email in [&client.email, "nobody@example.com"] {
        let mut last = wrong.status;
        for _ in 0..5 {
            last = log_in(&world, email, "not the password").await.status;
        }
        assert_eq!(last, StatusCode::TOO_MANY_REQUESTS, "{email}");
        // The right password doesn't help either, until the pause is over.
        let paused = log_in(&world, email, PASSWORD).await;
        assert_eq!(paused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(paused.headers["retry-after"], "1");
    }
    world.pass(1);
    let login = log_in(&world, &client.email, PASSWORD).await;
    assert_eq!(login.status, StatusCode::OK);
}

#[tokio::test]
async fn an_old_password_hash_is_replaced_at_login() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    let before = world
        .store
        .credentials(&client.email)
        .await
        .unwrap()
        .unwrap();
    let current = before.password_hash.unwrap();
    let parameters = Params::new(19 * 1024, 1, 1, None).unwrap();
    let old: phc::PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password(PASSWORD.as_bytes())
        .unwrap();
    let old = old.to_string();
    let replaced = world
        .store
        .upgrade_password_hash(client.user, &current, &old);
    replaced.await.unwrap();
    assert_eq!(
        log_in(&world, &client.email, PASSWORD).await.status,
        StatusCode::OK
    );
    let after = world
        .store
        .credentials(&client.email)
        .await
        .unwrap()
        .unwrap();
    let after = after.password_hash.unwrap();
    assert!(after.contains("m=19456,t=2,p=1"), "{after}");
    assert_eq!(
        log_in(&world, &client.email, PASSWORD).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_used_refresh_token_ends_the_session() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    let first = world.session(&client).await;
    let second = refresh(&world, first.expose()).await;
    assert_eq!(second.status, StatusCode::OK, "{second:?}");
    let tokens = second.json();
    let access = tokens["access_token"].as_str().unwrap();
    let me = async || world.call(access, "GET", "/v1/auth/me", None).await.status;
    assert_eq!(me().await, StatusCode::OK);
    let reused = refresh(&world, first.expose()).await;
    assert_eq!(
        (reused.status, reused.code().as_str()),
        (StatusCode::UNAUTHORIZED, "invalid_refresh_token")
    );
    let ended = refresh(&world, tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(ended.status, StatusCode::UNAUTHORIZED);
    assert_eq!(me().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_lasts_a_week_from_its_last_refresh() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    let token = world.session(&client).await;
    world.pass(7 * 24 * 3600 - 1);
    let next = refresh(&world, token.expose()).await.json();
    world.pass(7 * 24 * 3600);
    let late = refresh(&world, next["refresh_token"].as_str().unwrap()).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_user_sees_and_ends_sessions() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    let here = world.token(&client).await;
    world.pass(1);
    let login = log_in(&world, &client.email, PASSWORD).await.json();
    let there = login["access_token"].as_str().unwrap();
    let list = world
        .call(&here, "GET", "/v1/auth/sessions", None)
        .await
        .json();
    let sessions = list["data"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0]["is_current"], false);
    assert_eq!(sessions[0]["address"], "127.0.0.1");
    assert_eq!(sessions[1]["is_current"], true);
    let path = format!("/v1/auth/sessions/{}", sessions[0]["id"].as_str().unwrap());
    let ended = world.call(&here, "DELETE", &path, None).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    let me = async |token: &str| world.call(token, "GET", "/v1/auth/me", None).await.status;
    assert_eq!(me(there).await, StatusCode::UNAUTHORIZED);
    assert_eq!(me(&here).await, StatusCode::OK);
}

#[tokio::test]
async fn a_browser_keeps_its_refresh_token_in_a_cookie() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    let body = json!({"email": client.email, "password": PASSWORD, "cookie": true});
    let login = world.post(LOGIN, &body).await;
    assert!(login.json().get("refresh_token").is_none());
    let (token, attributes) = cookie(&login, "__Secure-airouter-refresh");
    for attribute in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/v1/auth"] {
        assert!(attributes.contains(attribute), "{attributes}");
    }
    let (proof, attributes) = cookie(&login, "__Secure-airouter-csrf");
    assert!(!attributes.contains("HttpOnly") && attributes.contains("Secure"));
    let cookies = format!("__Secure-airouter-csrf={proof}; __Secure-airouter-refresh={token}");
    let refresh = async |headers: &[(&str, &str)]| {
        world.send("POST", REFRESH, headers, Some(&json!({}))).await
    };
    let forged = refresh(&[("cookie", &cookies)]).await;
    assert_eq!(
        (forged.status, forged.code().as_str()),
        (StatusCode::FORBIDDEN, "missing_csrf_token")
    );
    let others = world.tokens.forgery_proof(uuid::Uuid::now_v7());
    let forged = refresh(&[("cookie", &cookies), ("x-csrf-token", &others)]).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    let refreshed = refresh(&[("cookie", &cookies), ("x-csrf-token", &proof)]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{refreshed:?}");
    assert_ne!(cookie(&refreshed, "__Secure-airouter-refresh").0, token);
    assert!(refreshed.json().get("refresh_token").is_none());
    let nothing = refresh(&[]).await;
    assert_eq!(nothing.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_no_request_is_a_problem_document() {
    let world = World::new().await;
    let request = |method: &str, path: &str, kind: &str, body: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .body(RequestBody::from(body.to_owned()))
            .unwrap()
    };
    let json = "application/json";
    let large = format!("\"{}\"", "x".repeat(64 << 10));
    for (method, path, kind, body, status) in [
        ("POST", LOGIN, json, "", 400),
        ("POST", LOGIN, json, "{", 400),
        ("POST", LOGIN, json, "[]", 400),
        ("POST", LOGIN, json, large.as_str(), 413),
        ("POST", LOGIN, "text/plain", "{}", 415),
        (
            "POST",
            LOGIN,
            "application/x-www-form-urlencoded",
            "email=a",
            415,
        ),
        ("GET", LOGIN, json, "", 405),
        ("GET", "/v1/auth/nothing", json, "", 404),
        ("GET", "/v1/admin/nothing", json, "", 404),
    ] {
        let answer = world.answer(request(method, path, kind, body)).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{method} {path} {kind}: {answer:?}"
        );
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.json()["status"], status);
    }
}

#[tokio::test]
async fn keys_come_in_pages() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    let token = world.token(&client).await;
    let list = async |query: &str| {
        let path = format!("/v1/auth/api-keys{query}");
        world.call(&token, "GET", &path, None).await
    };
    for number in 0..3 {
        let body = json!({"name": format!("key {number}")});
        let created = world
            .call(&token, "POST", "/v1/auth/api-keys", Some(&body))
            .await;
        assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
        let key = created.json();
        assert!(key["key"].as_str().unwrap().starts_with("sk-air-"));
        assert!(key["preview"].as_str().unwrap().starts_with("sk-air-"));
    }
    let first = list("?limit=2").await.json();
    assert_eq!(first["data"].as_array().unwrap().len(), 2);
    assert!(first["data"][0].get("key").is_none());
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = list(&format!("?limit=2&cursor={cursor}")).await.json();
    assert_eq!(second["data"][0]["name"], "key 2");
    assert_eq!(second["next_cursor"], json!(null));
    for wrong in ["?limit=0", "?limit=201", "?cursor=nothing"] {
        assert_eq!(
            list(wrong).await.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{wrong}"
        );
    }
    for wrong in ["?limit=x", "?page=2"] {
        assert_eq!(list(wrong).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let id = second["data"][0]["id"].as_str().unwrap();
    let revoke = format!("/v1/auth/api-keys/{id}");
    for _ in 0..2 {
        let revoked = world.call(&token, "DELETE", &revoke, None).await;
        assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    }
    let unknown = world
        .call(&token, "DELETE", "/v1/auth/api-keys/nothing", None)
        .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}
