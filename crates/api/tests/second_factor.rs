//! Second factors: setting one up, logging in with it, losing it.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use airouter_auth::TotpSecret;
use airouter_store::clients::Role;
use airouter_store::mailed_tokens::MailedKind;
use http::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};
use support::{Answer, PASSWORD, Somebody, World};

const FACTOR: &str = "/v1/auth/second-factor";

fn secret(text: &str) -> TotpSecret {
    TotpSecret::parse(&SecretString::from(text)).unwrap()
}

async fn log_in(world: &World, whom: &Somebody, code: Option<&str>) -> Answer {
    let mut credentials = json!({"email": whom.email, "password": PASSWORD});
    if let Some(code) = code {
        credentials["code"] = code.into();
    }
    world.post("/v1/auth/login", &credentials).await
}

fn assert_refused(answer: &Answer, status: StatusCode, code: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{answer:?}"
    );
}

/// Somebody whose second factor is on.
struct Protected {
    whom: Somebody,
    token: String,
    secret: TotpSecret,
    recovery_codes: Vec<String>,
}

impl Protected {
    async fn new(world: &World) -> Self {
        let whom = world.somebody(Role::Client).await;
        let token = world.token(&whom).await;
        let password = json!({"password": PASSWORD});
        let begun = world.call(&token, "POST", FACTOR, Some(&password)).await;
        assert_eq!(begun.status, StatusCode::CREATED, "{begun:?}");
        let secret = secret(begun.json()["secret"].as_str().unwrap());
        let first = json!({"code": secret.code_at(world.seconds()).as_str()});
        let path = format!("{FACTOR}/confirm");
        let confirmed = world.call(&token, "POST", &path, Some(&first)).await;
        assert_eq!(confirmed.status, StatusCode::OK, "{confirmed:?}");
        // The next half minute, whose code was not used.
        world.pass(30);
        Self {
            whom,
            token,
            secret,
            recovery_codes: codes(&confirmed.json()),
        }
    }

    fn code(&self, world: &World) -> String {
        self.secret.code_at(world.seconds()).to_string()
    }

    async fn status(&self, world: &World) -> Value {
        world.call(&self.token, "GET", FACTOR, None).await.json()
    }

    async fn ask(&self, world: &World, what: &str, password: &str, code: &str) -> Answer {
        let body = json!({"password": password, "code": code});
        let path = format!("{FACTOR}/{what}");
        world.call(&self.token, "POST", &path, Some(&body)).await
    }
}

fn codes(answer: &Value) -> Vec<String> {
    let codes = answer["recovery_codes"].as_array().unwrap();
    let text = |code: &Value| code.as_str().unwrap().to_owned();
    codes.iter().map(text).collect()
}

#[tokio::test]
async fn a_second_factor_is_set_up_with_a_first_code() {
    let world = World::new().await;
    let client = world.somebody(Role::Client).await;
    let token = world.token(&client).await;
    let call = async |method: &str, path: &str, body: Option<Value>| {
        world.call(&token, method, path, body.as_ref()).await
    };
    assert_eq!(call("GET", FACTOR, None).await.json()["state"], "off");
    let confirm = format!("{FACTOR}/confirm");
    let nothing = call("POST", &confirm, Some(json!({"code": "123456"}))).await;
    assert_refused(&nothing, StatusCode::CONFLICT, "no_second_factor");
    let wrong = call("POST", FACTOR, Some(json!({"password": "not it"}))).await;
    assert_refused(&wrong, StatusCode::FORBIDDEN, "wrong_password");

    let begun = call("POST", FACTOR, Some(json!({"password": PASSWORD}))).await;
    assert_eq!(begun.status, StatusCode::CREATED, "{begun:?}");
    let begun = begun.json();
    let uri = begun["uri"].as_str().unwrap();
    assert!(
        uri.starts_with("otpauth://totp/ai%2Eexample%2Ecom:"),
        "{uri}"
    );
    assert!(uri.contains(begun["secret"].as_str().unwrap()));
    // Nothing is asked for yet.
    assert_eq!(call("GET", FACTOR, None).await.json()["state"], "pending");
    assert_eq!(log_in(&world, &client, None).await.status, StatusCode::OK);
    let wrong = call("POST", &confirm, Some(json!({"code": "12345"}))).await;
    assert_refused(&wrong, StatusCode::FORBIDDEN, "wrong_code");
    let secret = secret(begun["secret"].as_str().unwrap());
    let code = secret.code_at(world.seconds());
    let confirmed = call("POST", &confirm, Some(json!({"code": code.as_str()}))).await;
    assert_eq!(codes(&confirmed.json()).len(), 10);
    let status = call("GET", FACTOR, None).await.json();
    assert_eq!(
        (&status["state"], &status["recovery_codes_left"]),
        (&json!("on"), &json!(10))
    );
    // The session goes on; the second factor is neither confirmed nor begun again; its first code is used up.
    let again = call("POST", &confirm, Some(json!({"code": code.as_str()}))).await;
    assert_refused(&again, StatusCode::CONFLICT, "second_factor_on");
    let anew = call("POST", FACTOR, Some(json!({"password": PASSWORD}))).await;
    assert_refused(&anew, StatusCode::CONFLICT, "second_factor_on");
    let replayed = log_in(&world, &client, Some(&code)).await;
    assert_refused(&replayed, StatusCode::FORBIDDEN, "wrong_code");
}

#[tokio::test]
async fn a_login_needs_the_password_and_a_code_that_is_good_once() {
    let world = World::new().await;
    let ann = Protected::new(&world).await;
    let bare = log_in(&world, &ann.whom, None).await;
    assert_refused(&bare, StatusCode::FORBIDDEN, "second_factor_needed");
    // With a wrong password nobody learns of it.
    let wrong = json!({"email": ann.whom.email, "password": "not it", "code": ann.code(&world)});
    let wrong = world.post("/v1/auth/login", &wrong).await;
    assert_refused(&wrong, StatusCode::UNAUTHORIZED, "wrong_credentials");
    let code = ann.code(&world);
    assert_eq!(
        log_in(&world, &ann.whom, Some(&code)).await.status,
        StatusCode::OK
    );
    let replayed = log_in(&world, &ann.whom, Some(&code)).await;
    assert_refused(&replayed, StatusCode::FORBIDDEN, "wrong_code");
    // The code of the half minute before still is good for another one, but not after a later one.
    world.pass(30);
    let before = ann.code(&world);
    world.pass(30);
    assert_eq!(
        log_in(&world, &ann.whom, Some(&before)).await.status,
        StatusCode::OK
    );
    let now = ann.code(&world);
    assert_eq!(
        log_in(&world, &ann.whom, Some(&now)).await.status,
        StatusCode::OK
    );
    let earlier = log_in(&world, &ann.whom, Some(&before)).await;
    assert_refused(&earlier, StatusCode::FORBIDDEN, "wrong_code");
    // Another one's code opens nothing.
    let bob = Protected::new(&world).await;
    let others = log_in(&world, &bob.whom, Some(&ann.code(&world))).await;
    assert_refused(&others, StatusCode::FORBIDDEN, "wrong_code");
}

#[tokio::test]
async fn whoever_knows_the_password_guesses_codes_slowly() {
    let world = World::new().await;
    let ann = Protected::new(&world).await;
    for _ in 0..5 {
        let wrong = log_in(&world, &ann.whom, Some("00000x")).await;
        assert_refused(&wrong, StatusCode::FORBIDDEN, "wrong_code");
    }
    // Neither the right code helps, nor logging in without one in between.
    world.pass(1);
    log_in(&world, &ann.whom, None).await;
    let paused = log_in(&world, &ann.whom, Some(&ann.code(&world))).await;
    assert_refused(&paused, StatusCode::TOO_MANY_REQUESTS, "too_many_attempts");
    world.pass(60);
    let login = log_in(&world, &ann.whom, Some(&ann.code(&world))).await;
    assert_eq!(login.status, StatusCode::OK, "{login:?}");
}

#[tokio::test]
async fn codes_are_guessed_no_faster_where_the_password_is_asked_again() {
    let world = World::new().await;
    let ann = Protected::new(&world).await;
    for _ in 0..5 {
        let wrong = ann.ask(&world, "remove", PASSWORD, "00000x").await;
        assert_refused(&wrong, StatusCode::FORBIDDEN, "wrong_code");
    }
    // Each time the password was right, and its own count began anew; that of the codes did not, wherever they are shown.
    let code = ann.code(&world);
    let paused = ann.ask(&world, "recovery-codes", PASSWORD, &code).await;
    assert_refused(&paused, StatusCode::TOO_MANY_REQUESTS, "too_many_attempts");
    let paused = log_in(&world, &ann.whom, Some(&ann.recovery_codes[0])).await;
    assert_refused(&paused, StatusCode::TOO_MANY_REQUESTS, "too_many_attempts");
    world.pass(1);
    let login = log_in(&world, &ann.whom, Some(&code)).await;
    assert_eq!(login.status, StatusCode::OK, "{login:?}");
}

#[tokio::test]
async fn a_recovery_code_takes_the_place_of_a_code_once() {
    let world = World::new().await;
    let ann = Protected::new(&world).await;
    let [first, second, ..] = ann.recovery_codes.as_slice() else {
        panic!("there are ten");
    };
    let typed = first.to_uppercase().replace('-', " ");
    assert_eq!(
        log_in(&world, &ann.whom, Some(&typed)).await.status,
        StatusCode::OK
    );
    let again = log_in(&world, &ann.whom, Some(first)).await;
    assert_refused(&again, StatusCode::FORBIDDEN, "wrong_code");
    assert_eq!(ann.status(&world).await["recovery_codes_left"], 9);
    let new = ann
        .ask(&world, "recovery-codes", PASSWORD, &ann.code(&world))
        .await;
    let new = codes(&new.json());
    assert_eq!(ann.status(&world).await["recovery_codes_left"], 10);
    let old = log_in(&world, &ann.whom, Some(second)).await;
    assert_refused(&old, StatusCode::FORBIDDEN, "wrong_code");
    assert_eq!(
        log_in(&world, &ann.whom, Some(&new[0])).await.status,
        StatusCode::OK
    );
    let log = world.store.audit_log(0, 100).await.unwrap();
    let told: Vec<_> = log
        .iter()
        .map(|record| record.entry.action.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "login.second_factor_on",
            "login.recovery_code_used",
            "login.new_recovery_codes",
            "login.recovery_code_used"
        ]
    );
    assert!(
        log.iter()
            .all(|record| record.entry.subject == ann.whom.account.get())
    );
}

#[tokio::test]
async fn it_is_turned_off_with_password_and_code_only() {
    let world = World::new().await;
    let ann = Protected::new(&world).await;
    let code = ann.code(&world);
    let wrong = ann.ask(&world, "remove", "not it", &code).await;
    assert_refused(&wrong, StatusCode::FORBIDDEN, "wrong_password");
    let wrong = ann.ask(&world, "remove", PASSWORD, "12345x").await;
    assert_refused(&wrong, StatusCode::FORBIDDEN, "wrong_code");
    let removed = ann.ask(&world, "remove", PASSWORD, &code).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{removed:?}");
    assert_eq!(ann.status(&world).await["state"], "off");
    assert_eq!(log_in(&world, &ann.whom, None).await.status, StatusCode::OK);
    let none = ann.ask(&world, "remove", PASSWORD, &code).await;
    assert_refused(&none, StatusCode::CONFLICT, "no_second_factor");
}

#[tokio::test]
async fn a_new_password_does_not_go_round_it() {
    let world = World::new().await;
    let ann = Protected::new(&world).await;
    let token = world
        .mailed_token(&ann.whom, MailedKind::ResetPassword)
        .await;
    let reset = json!({"token": token, "password": PASSWORD});
    let done = world.post("/v1/auth/password-reset/confirm", &reset).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT, "{done:?}");
    let bare = log_in(&world, &ann.whom, None).await;
    assert_refused(&bare, StatusCode::FORBIDDEN, "second_factor_needed");
    let login = log_in(&world, &ann.whom, Some(&ann.code(&world))).await;
    assert_eq!(login.status, StatusCode::OK);
}

#[tokio::test]
async fn an_administrator_takes_away_a_clients_but_not_its_own() {
    let world = World::new().await;
    let ann = Protected::new(&world).await;
    let admin = world.somebody(Role::Admin).await;
    let token = world.token(&admin).await;
    let take = async |account: &str| {
        let path = format!("/v1/admin/clients/{account}/remove-second-factor");
        let reason = json!({"reason": "lost phone"});
        world.call(&token, "POST", &path, Some(&reason)).await
    };
    let oneself = take(&admin.account.to_string()).await;
    assert_refused(&oneself, StatusCode::CONFLICT, "oneself");
    let account = ann.whom.account.to_string();
    assert_eq!(take(&account).await.status, StatusCode::NO_CONTENT);
    assert_eq!(take(&account).await.status, StatusCode::NOT_FOUND);
    assert_eq!(log_in(&world, &ann.whom, None).await.status, StatusCode::OK);
    let log = world.store.audit_log(1, 10).await.unwrap();
    let entry = &log[0].entry;
    assert_eq!(entry.action, "client.remove_second_factor");
    assert_eq!(
        (&entry.actor, entry.reason.as_deref()),
        (&admin.email, Some("lost phone"))
    );
}
