//! Reports of what was used.
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod support;

use airouter_billing::event::{Ending, Payment};
use airouter_billing::{AccountId, ApiKeyId, Timestamp};
use airouter_store::clients::Role;
use airouter_store::conformance::{self, Client, charge};
use http::StatusCode;
use serde_json::{Value, json};
use support::{Answer, START, Somebody, World};
use uuid::Uuid;

/// A client with two keys, and an administrator.
struct Office {
    world: World,
    books: conformance::World,
    ann: Somebody,
    keys: [ApiKeyId; 2],
    token: String,
    admin: String,
}

impl Office {
    async fn new() -> Self {
        let world = World::new().await;
        let books = conformance::World::new(world.store.clone()).await;
        let ann = world.somebody(Role::Client).await;
        let admin = world.somebody(Role::Admin).await;
        let office = Self {
            keys: [world.key(&ann).await, world.key(&ann).await],
            token: world.token(&ann).await,
            admin: world.token(&admin).await,
            books,
            ann,
            world,
        };
        office.books.adjust(&office.client(0), 1_000_000).await;
        office
    }

    fn client(&self, key: usize) -> Client {
        Client {
            account: self.ann.account,
            payment: Payment::Prepaid,
            key: self.keys[key],
            hash: airouter_auth::ClientKey::generate().unwrap().hash(),
        }
    }

    /// A request for which 80 nano-dollars are paid and that costs 30.
    async fn serve(&self, key: usize, model: &str, hours_ago: i64) {
        let at = Timestamp::default().plus_seconds(START - hours_ago * 3_600);
        let client = self.client(key);
        let mut event = self.books.event_at(&client, "0.0000001", at);
        event.request.admitted_at = at.plus_seconds(-2);
        event.served.model = Some(model.to_owned());
        event.ending = Ending::ClientGone;
        event.charges = vec![charge(client.balance(), 0, event.price.get())];
        self.books.commit(vec![event]).await;
    }

    async fn ask(&self, path: &str) -> Answer {
        self.world.call(&self.token, "GET", path, None).await
    }

    async fn told(&self, path: &str) -> Value {
        let answer = self.ask(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        answer.json()
    }

    async fn stats(&self, query: &str) -> Answer {
        let path = format!("/v1/admin/stats{query}");
        self.world.call(&self.admin, "GET", &path, None).await
    }
}

#[tokio::test]
async fn use_is_told_by_day_model_and_key() {
    let office = Office::new().await;
    // Yesterday at 23:00 in UTC is today in Berlin.
    for (key, model, hours_ago) in [(0, "a/one", 1), (0, "a/two", 13), (1, "a/two", 36)] {
        office.serve(key, model, hours_ago).await;
    }
    let total = office.told("/v1/client/usage").await;
    assert_eq!(total["from"], "2026-10-22T00:00:00Z");
    assert_eq!(total["to"], "2026-11-21T00:00:00Z");
    assert_eq!(total["time_zone"], "UTC");
    assert_eq!(total["total"]["requests"], 3);
    assert_eq!(total["total"]["cancelled"], 3);
    assert_eq!(total["total"]["prompt_tokens"], 3_000);
    assert_eq!(total["total"]["charged"], "0.00000024");

    let days = async |zone: &str| -> Vec<Value> {
        let path = format!("/v1/client/usage/daily?from=2026-11-18&time_zone={zone}");
        let report = office.told(&path).await;
        let days = report["data"].as_array().unwrap().clone();
        assert_eq!(days[0]["date"], "2026-11-18");
        days.iter().map(|day| day["requests"].clone()).collect()
    };
    assert_eq!(days("UTC").await, [0, 2, 1]);
    assert_eq!(days("Europe/Berlin").await, [0, 1, 2]);

    let models = office.told("/v1/client/models/usage").await;
    assert_eq!(models["data"][0]["model"], "a/two");
    assert_eq!(models["data"][0]["charged"], "0.00000016");
    assert_eq!(models["data"][1]["model"], "a/one");
    let keys = office.told("/v1/client/keys/usage?model=a/two").await;
    assert_eq!(keys["data"].as_array().unwrap().len(), 2);
    assert_eq!(keys["data"][0]["key_name"], "test");
    let key = office.keys[1];
    let one =
        format!("/v1/client/usage?key_id={key}&from=2026-11-19T00:00:00Z&to=2026-11-19T00:15:00Z");
    assert_eq!(office.told(&one).await["total"]["requests"], 1);
}

#[tokio::test]
async fn long_reports_have_pages() {
    let office = Office::new().await;
    for (model, times) in [("a/one", 3), ("a/two", 2), ("a/three", 1)] {
        for _ in 0..times {
            office.serve(0, model, 1).await;
        }
    }
    let mut models = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = office
            .told(&format!("/v1/client/models/usage?limit=2{cursor}"))
            .await;
        let lines = page["data"].as_array().unwrap();
        models.extend(lines.iter().map(|line| line["model"].clone()));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(models, ["a/one", "a/two", "a/three"]);
}

#[tokio::test]
async fn what_cant_be_reported_is_refused() {
    let office = Office::new().await;
    let others = office.world.somebody(Role::Client).await;
    let others_key = office.world.key(&others).await;
    for path in ["usage", "usage/daily", "models/usage"] {
        let path = format!("/v1/client/{path}?key_id={others_key}");
        let refused = office.ask(&path).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{path}");
    }
    for (query, field) in [
        ("from=2026-11-20&to=2026-11-19", "from"),
        ("from=2020-01-01&to=2026-11-19", "from"),
        ("from=2026-11-20T10:07:00Z", "from"),
        ("to=never", "to"),
        ("time_zone=Nowhere", "time_zone"),
    ] {
        let refused = office.ask(&format!("/v1/client/usage?{query}")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert_eq!(refused.json()["field"], field);
    }
    for query in ["unknown=1", "key_id=x", "format=xml"] {
        let refused = office.ask(&format!("/v1/client/usage?{query}")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}");
    }
    let zero = office.told("/v1/client/usage?model=a%00b").await;
    assert_eq!(zero["total"]["requests"], 0);
    let client = office.ann.account;
    let nobody = uuid::Uuid::now_v7();
    for (query, status) in [
        (format!("?client_id={nobody}"), 404),
        (format!("?client_id={client}&group_by=client"), 422),
        (
            format!("?client_id={client}&master_account_id={nobody}"),
            422,
        ),
        ("?group_by=client&model=a".to_owned(), 422),
        ("?group_by=weather".to_owned(), 400),
        ("?cursor=x".to_owned(), 422),
    ] {
        assert_eq!(office.stats(&query).await.status, status, "{query}");
    }
}

#[tokio::test]
async fn reports_are_csv_too() {
    let office = Office::new().await;
    office.serve(0, "=cmd()", 1).await;
    let bearer = format!("Bearer {}", office.token);
    let headers = [("authorization", bearer.as_str()), ("accept", "text/csv")];
    let path = "/v1/client/models/usage";
    let csv = office.world.send("GET", path, &headers, None).await;
    assert_eq!(
        csv.headers["content-type"],
        "text/csv; charset=utf-8; header=present"
    );
    let text = String::from_utf8(csv.body.to_vec()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "model,requests,errors,cancelled,prompt_tokens,completion_tokens,cached_tokens,cache_write_tokens,\
        audio_tokens,reasoning_tokens,image_output_tokens,charged"
    );
    assert_eq!(lines[1], "'=cmd(),1,0,1,1000,200,128,0,0,0,0,0.00000008");
    for path in ["usage", "usage/daily", "keys/usage"] {
        let path = format!("/v1/client/{path}?format=csv");
        let csv = office.ask(&path).await;
        assert_eq!(csv.status, StatusCode::OK, "{path}: {csv:?}");
        assert!(
            csv.headers["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/csv")
        );
    }
    for group in ["day", "model", "master_account", "client"] {
        let csv = office.stats(&format!("?format=csv&group_by={group}")).await;
        assert_eq!(csv.status, StatusCode::OK, "{group}: {csv:?}");
        let text = String::from_utf8(csv.body.to_vec()).unwrap();
        assert!(
            text.lines().last().unwrap().contains("0.00000005"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn the_operator_sees_what_it_earns() {
    let office = Office::new().await;
    for (key, model, hours_ago) in [(0, "a/one", 1), (0, "a/two", 13), (1, "a/two", 36)] {
        office.serve(key, model, hours_ago).await;
    }
    let stats = office.stats("").await.json();
    assert_eq!(stats["group_by"], "day");
    assert_eq!(stats["data"].as_array().unwrap().len(), 30);
    let total = &stats["total"];
    let expected = json!({
        "requests": 3, "failed_attempts": 0, "errors": 0, "cancelled": 3, "prompt_tokens": 3000,
        "completion_tokens": 600, "cached_tokens": 384, "cache_write_tokens": 0, "audio_tokens": 0,
        "reasoning_tokens": 0, "image_output_tokens": 0, "list_cost": "0.0000003",
        "revenue": "0.00000024", "charged": "0.00000024", "cost": "0.00000009", "margin": "0.00000015",
        "margin_percent": "62.5", "losses": "0", "loss_crash": "0", "loss_uncollected": "0",
        "loss_failed_attempt": "0", "loss_unknown": "0", "mean_first_byte_ms": 1, "mean_duration_ms": 2000,
    });
    assert_eq!(*total, expected);
    let models = office.stats("?group_by=model").await.json();
    assert_eq!(models["data"][0]["model"], "a/two");
    assert_eq!(models["data"][0]["revenue"], "0.00000016");
    let masters = office.stats("?group_by=master_account").await.json();
    assert_eq!(masters["data"][0]["name"], "main");
    assert_eq!(
        masters["data"][0]["master_account_id"],
        office.books.master.to_string()
    );
    let clients = office.stats("?group_by=client").await.json();
    assert_eq!(
        clients["data"][0]["client_id"],
        office.ann.account.to_string()
    );
    assert_eq!(clients["data"][0]["requests"], 3);
    let of_client = format!("?client_id={}&group_by=model", office.ann.account);
    let of_client = office.stats(&of_client).await.json();
    assert_eq!(of_client["total"]["cost"], "0.00000009");
    assert_eq!(of_client["data"].as_array().unwrap().len(), 2);
    let elsewhere = format!("?master_account_id={}", uuid::Uuid::now_v7());
    let elsewhere = office.stats(&elsewhere).await.json();
    assert_eq!(elsewhere["total"]["requests"], 0);
    assert_eq!(elsewhere["total"]["margin_percent"], json!(null));
}

#[tokio::test]
async fn owners_see_what_everybody_used_of_an_organization_and_members_their_own() {
    let world = World::new().await;
    let books = conformance::World::new(world.store.clone()).await;
    let (owner, member) = (
        world.somebody(Role::Client).await,
        world.somebody(Role::Client).await,
    );
    let organization = world.organization(&owner).await;
    world.joined(&owner, &organization, &member).await;
    let account = AccountId::new(Uuid::try_parse(&organization).unwrap());
    let at = Timestamp::default().plus_seconds(START - 3_600);
    let new = json!({"name": "a key", "organization_id": organization});
    for (whose, requests) in [(&owner, 1), (&member, 2)] {
        let token = world.token(whose).await;
        let made = world
            .call(&token, "POST", "/v1/auth/api-keys", Some(&new))
            .await;
        let key = Uuid::try_parse(made.json()["id"].as_str().unwrap()).unwrap();
        let client = Client {
            account,
            payment: Payment::Prepaid,
            key: ApiKeyId::new(key),
            hash: airouter_auth::ClientKey::generate().unwrap().hash(),
        };
        books.adjust(&client, 1_000_000).await;
        for _ in 0..requests {
            let mut event = books.event_at(&client, "0.0000001", at);
            event.charges = vec![charge(client.balance(), 0, event.price.get())];
            books.commit(vec![event]).await;
        }
    }
    let get = async |whose: &Somebody, path: &str| {
        let path = format!("/v1/organizations/{organization}/{path}");
        let answer = world
            .call(&world.token(whose).await, "GET", &path, None)
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    };
    let lines = async |whose, path| get(whose, path).await["data"].as_array().unwrap().clone();
    let used = |lines: &[Value]| -> u64 {
        lines
            .iter()
            .map(|line| line["requests"].as_u64().unwrap())
            .sum()
    };
    for (whose, requests) in [(&owner, 3), (&member, 2)] {
        assert_eq!(get(whose, "usage").await["total"]["requests"], requests);
        for path in ["usage/daily", "models/usage", "keys/usage", "members/usage"] {
            assert_eq!(used(&lines(whose, path).await), requests, "{path}");
        }
        let listed = lines(whose, "recent-requests").await.len();
        assert_eq!(u64::try_from(listed).unwrap(), requests);
    }
    let [most, least] = lines(&owner, "members/usage").await.try_into().unwrap();
    assert_eq!(
        (&most["account_id"], &most["requests"]),
        (&json!(member.account.to_string()), &json!(2))
    );
    assert_eq!(least["account_id"], json!(owner.account.to_string()));
    let [own] = lines(&member, "members/usage").await.try_into().unwrap();
    assert_eq!(own, most);
}
