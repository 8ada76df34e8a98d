//! Links that are mailed: proving an e-mail address, and choosing a new password.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use airouter_store::clients::Role;
use airouter_store::mailed_tokens::MailedKind;
use http::StatusCode;
use serde_json::json;
use support::{Answer, PASSWORD, Somebody, World};

const NEW_PASSWORD: &str = "wrong horse battery";
const RESET: &str = "/v1/auth/password-reset";
const CONFIRM: &str = "/v1/auth/password-reset/confirm";
const VERIFY: &str = "/v1/auth/verify-email";

async fn log_in(world: &World, email: &str, password: &str) -> StatusCode {
    let credentials = json!({"email": email, "password": password});
    world.post("/v1/auth/login", &credentials).await.status
}

async fn ask_for_reset(world: &World, email: &str) -> Answer {
    world.post(RESET, &json!({"email": email})).await
}

async fn confirm(world: &World, token: &str, password: &str) -> Answer {
    let request = json!({"token": token, "password": password});
    world.post(CONFIRM, &request).await
}

async fn is_verified(world: &World, whom: &Somebody) -> bool {
    let token = world.token(whom).await;
    let me = world.call(&token, "GET", "/v1/auth/me", None).await.json();
    me["email_verified"].as_bool().unwrap()
}

async fn actions(world: &World) -> Vec<String> {
    let log = world.store.audit_log(0, 100).await.unwrap();
    log.into_iter().map(|record| record.entry.action).collect()
}

#[tokio::test]
async fn whoever_registers_proves_the_address_with_the_link() {
    let world = World::new().await;
    let registration = json!({"email": "Ann@example.com", "password": PASSWORD, "name": "Ann"});
    let registered = world.post("/v1/auth/register", &registration).await;
    assert_eq!(registered.json()["email_verified"], false);
    let token = world.mail.token("/verify-email", "Ann@example.com");
    assert!(!String::from_utf8_lossy(&registered.body).contains(&token));
    let verify = async |token: &str| world.post(VERIFY, &json!({"token": token})).await;
    for (wrong, code) in [("", "no_such_token"), ("air-ev-x", "no_such_token")] {
        assert_eq!(verify(wrong).await.code(), code);
    }
    assert_eq!(verify(&token).await.status, StatusCode::NO_CONTENT);
    let again = verify(&token).await;
    assert_eq!(
        (again.status, again.code().as_str()),
        (StatusCode::NOT_FOUND, "no_such_token")
    );
    let credentials = json!({"email": "ann@example.com", "password": PASSWORD});
    let login = world.post("/v1/auth/login", &credentials).await.json();
    assert_eq!(login["user"]["email_verified"], true);
    // There is nothing to send any more.
    let token = login["access_token"].as_str().unwrap();
    let resend = world
        .call(token, "POST", "/v1/auth/verify-email/resend", None)
        .await;
    assert_eq!(resend.code(), "email_verified");
    assert_eq!(actions(&world).await, ["login.verify_email"]);
}

#[tokio::test]
async fn a_link_is_sent_again_but_not_without_end() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    let token = world.token(&client).await;
    let resend = async || {
        world
            .call(&token, "POST", "/v1/auth/verify-email/resend", None)
            .await
    };
    for _ in 0..3 {
        assert_eq!(resend().await.status, StatusCode::ACCEPTED);
    }
    let paused = resend().await;
    assert_eq!(paused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(paused.headers["retry-after"], "60");
    assert_eq!(world.mail.taken().len(), 3);
    world.pass(60);
    assert_eq!(resend().await.status, StatusCode::ACCEPTED);
    let link = world.mail.token("/verify-email", &client.email);
    world.post(VERIFY, &json!({"token": link})).await;
    assert!(is_verified(&world, &client).await);
}

#[tokio::test]
async fn a_forgotten_password_is_replaced() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    let session = world.token(&client).await;
    let asked = ask_for_reset(&world, &client.email.to_uppercase()).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
    let token = world.mail.token("/reset-password", &client.email);
    let other = world.mailed_token(&client, MailedKind::ResetPassword).await;
    let short = confirm(&world, &token, "short").await;
    assert_eq!(short.status, StatusCode::UNPROCESSABLE_ENTITY);
    let done = confirm(&world, &token, NEW_PASSWORD).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT, "{done:?}");
    // Every session has ended, the old password and the other links are void, and the address is proved.
    let me = world.call(&session, "GET", "/v1/auth/me", None).await;
    assert_eq!(me.status, StatusCode::UNAUTHORIZED);
    let wrong = log_in(&world, &client.email, PASSWORD).await;
    assert_eq!(wrong, StatusCode::UNAUTHORIZED);
    assert_eq!(
        log_in(&world, &client.email, NEW_PASSWORD).await,
        StatusCode::OK
    );
    for void in [&token, &other] {
        assert_eq!(
            confirm(&world, void, PASSWORD).await.code(),
            "no_such_token"
        );
    }
    assert!(is_verified(&world, &client).await);
    assert_eq!(actions(&world).await, ["login.reset_password"]);
}

#[tokio::test]
async fn a_link_to_reset_a_password_is_good_for_an_hour() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    ask_for_reset(&world, &client.email).await;
    let token = world.mail.token("/reset-password", &client.email);
    world.pass(3600);
    let late = confirm(&world, &token, NEW_PASSWORD).await;
    assert_eq!(late.code(), "no_such_token");
    // A link of one kind is no link of the other.
    let other = world.mailed_token(&client, MailedKind::VerifyEmail).await;
    let wrong = confirm(&world, &other, NEW_PASSWORD).await;
    assert_eq!(wrong.code(), "no_such_token");
}

#[tokio::test]
async fn nobody_learns_by_a_reset_whether_a_login_exists() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    for email in [client.email.as_str(), "nobody@example.com"] {
        let answers = [ask_for_reset(&world, email).await];
        for answer in &answers {
            assert_eq!(answer.status, StatusCode::ACCEPTED);
            assert!(answer.body.is_empty());
        }
        // Nor by the pauses that keep a mailbox from being flooded.
        for _ in 0..2 {
            ask_for_reset(&world, email).await;
        }
        let paused = ask_for_reset(&world, email).await;
        assert_eq!(paused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(paused.headers["retry-after"], "60");
    }
    let mailed = world.mail.taken();
    assert_eq!(mailed.len(), 3);
    assert!(mailed.iter().all(|message| message.to.user == client.user));
    assert!(!format!("{mailed:?}").contains("air-pr-"));
}

#[tokio::test]
async fn links_from_one_address_are_bounded() {
    let world = World::new().await;
    for number in 0..50 {
        let asked = ask_for_reset(&world, &format!("a{number}@example.com")).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED, "{number}");
    }
    let paused = ask_for_reset(&world, "z@example.com").await;
    assert_eq!(paused.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_password_is_changed_by_whoever_knows_it() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    let here = world.token(&client).await;
    let there = world.token(&client).await;
    let link = world.mailed_token(&client, MailedKind::ResetPassword).await;
    let change = async |current: &str, new: &str| {
        let request = json!({"current_password": current, "password": new});
        let path = "/v1/auth/password";
        world.call(&here, "POST", path, Some(&request)).await
    };
    let wrong = change("not the password", NEW_PASSWORD).await;
    assert_eq!(
        (wrong.status, wrong.code().as_str()),
        (StatusCode::FORBIDDEN, "wrong_password")
    );
    assert_eq!(change(PASSWORD, "short").await.json()["field"], "password");
    let changed = change(PASSWORD, NEW_PASSWORD).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{changed:?}");
    let me = async |token: &str| world.call(token, "GET", "/v1/auth/me", None).await.status;
    assert_eq!(me(&here).await, StatusCode::OK);
    assert_eq!(me(&there).await, StatusCode::UNAUTHORIZED);
    let void = confirm(&world, &link, PASSWORD).await;
    assert_eq!(void.code(), "no_such_token");
    assert_eq!(
        log_in(&world, &client.email, NEW_PASSWORD).await,
        StatusCode::OK
    );
    assert_eq!(actions(&world).await, ["login.change_password"]);
    // Whoever has stolen a token guesses no faster with it.
    for _ in 0..5 {
        change("not the password", NEW_PASSWORD).await;
    }
    let paused = change(NEW_PASSWORD, PASSWORD).await;
    assert_eq!(paused.status, StatusCode::TOO_MANY_REQUESTS);
}
