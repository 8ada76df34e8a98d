//! The API over a database of its own, and people who call it.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "every test program has this module, and none uses all of it"
)]
#![expect(clippy::unwrap_used, reason = "tests: what goes wrong fails them")]

mod fake_upstreams;
mod kept_mail;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use airouter_api::{Api, Parts, RegistrationMode, RequestBody, Setting};
use airouter_auth::{
    AccessClaims, AddressAccess, ClientKey, EncryptionKeys, OpaqueToken, RefreshToken, TokenKeys,
    hash_password,
};
use airouter_billing::event::Payment;
use airouter_billing::price_book::{OutputLimit, RawPricing};
use airouter_billing::{AccountId, ApiKeyId, Nanos, SessionId, Timestamp, UsageEvent, UserId};
use airouter_store::Store;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::{ModelAccess, NewKey, NewPerson, RequestLimits, Role};
use airouter_store::conformance::{Client, World as Books};
use airouter_store::identities::{LinkGround, NewIdentity};
use airouter_store::ledger::Adjustment;
use airouter_store::logins::NewSession;
use airouter_store::mailed_tokens::{MailedKind, NewMailedToken};
use airouter_store::prices::{ListedModel, PriceProvider};
use airouter_store_sqlite::{OpenMode, SqliteStore};
use bytes::Bytes;
use fake_upstreams::FakeUpstreams;
use http::{HeaderMap, Request, StatusCode};
pub(crate) use kept_mail::KeptMail;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

/// 2026-11-20T12:00:00Z.
pub(crate) const START: i64 = 1_795_176_000;
pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const PUBLIC_URL: &str = "https://ai.example.com";
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The API and its database.
pub(crate) struct World {
    pub(crate) api: Api,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tokens: TokenKeys,
    pub(crate) mail: Arc<KeptMail>,
    /// Seconds since the epoch.
    clock: Arc<AtomicI64>,
    password_hash: String,
    _directory: TempDir,
}

/// A login with its account.
#[derive(Clone, Debug)]
pub(crate) struct Somebody {
    pub(crate) user: UserId,
    pub(crate) account: AccountId,
    pub(crate) email: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of a problem document.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) fn token_keys(text: &str) -> TokenKeys {
    TokenKeys::parse(&SecretString::from(text)).unwrap()
}

fn encryption() -> EncryptionKeys {
    EncryptionKeys::parse(&SecretString::from(SECRET)).unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::where_registration_is(RegistrationMode::Open).await
    }

    pub(crate) async fn where_registration_is(registration: RegistrationMode) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("airouter.db");
        let store = SqliteStore::open(&path, OpenMode::Serve).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let clock = Arc::new(AtomicI64::new(START));
        let now = {
            let clock = Arc::clone(&clock);
            Arc::new(move || Timestamp::default().plus_seconds(clock.load(Ordering::Acquire)))
        };
        let mail = Arc::new(KeptMail::default());
        let api = Api::new(Parts {
            store: Arc::clone(&store),
            tokens: token_keys(SECRET),
            encryption: encryption(),
            registration,
            login_provider: None,
            upstreams: Arc::new(FakeUpstreams),
            mail: Arc::<KeptMail>::clone(&mail),
            public_url: PUBLIC_URL.to_owned(),
            settings: vec![Setting {
                name: "AIROUTER_REGISTRATION",
                value: registration.name().to_owned(),
            }],
            now,
        })
        .unwrap();
        let password_hash = hash_password(&SecretString::from(PASSWORD)).unwrap();
        Self {
            api,
            store,
            tokens: token_keys(SECRET),
            mail,
            clock,
            password_hash: password_hash.as_str().to_owned(),
            _directory: directory,
        }
    }

    pub(crate) fn seconds(&self) -> i64 {
        self.clock.load(Ordering::Acquire)
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::default().plus_seconds(self.seconds())
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::AcqRel);
    }

    /// Somebody new, whose password is [`PASSWORD`].
    pub(crate) async fn somebody(&self, role: Role) -> Somebody {
        let account = Uuid::now_v7();
        let person = NewPerson {
            user: UserId::new(Uuid::now_v7()),
            account: AccountId::new(account),
            email: format!("{}@example.com", account.simple()),
            name: "Ada".to_owned(),
            password_hash: Some(self.password_hash.clone()),
            role,
            locale: None,
            utm_source: None,
            signup_address: None,
            payment: Payment::Prepaid,
            tier: None,
            caps: Vec::new(),
            limits: RequestLimits::default(),
            at: self.now(),
        };
        self.store.create_person(&person).await.unwrap();
        Somebody {
            user: person.user,
            account: person.account,
            email: person.email,
        }
    }

    /// The refresh token of a new session.
    pub(crate) async fn session(&self, whose: &Somebody) -> RefreshToken {
        let session = SessionId::new(Uuid::now_v7());
        let refresh = RefreshToken::generate(session.get()).unwrap();
        let new = NewSession {
            id: session,
            user: whose.user,
            password_hash: None,
            refresh: refresh.hash(),
            expires_at: self.now().plus_seconds(7 * 24 * 3600),
            address: None,
            user_agent: None,
            at: self.now(),
        };
        self.store.start_session(&new).await.unwrap();
        refresh
    }

    /// An identity of somebody at a provider.
    pub(crate) async fn identity(&self, whose: &Somebody) -> Uuid {
        let id = Uuid::now_v7();
        let identity = NewIdentity {
            id,
            issuer: format!("https://id.example.com/{id}"),
            subject: "somebody".to_owned(),
            email: None,
            at: self.now(),
        };
        let account = whose.account.get();
        let audit = AuditEntry::new(&whose.email, "identity.link", account, self.now());
        let ground = LinkGround::Session;
        let linked = self
            .store
            .link_identity(whose.user, &identity, ground, &audit);
        linked.await.unwrap();
        id
    }

    /// What an access token of a new session says.
    pub(crate) async fn claims(&self, whose: &Somebody) -> AccessClaims {
        AccessClaims {
            user: whose.user.get(),
            session: self.session(whose).await.session(),
        }
    }

    /// The access token of a new session.
    pub(crate) async fn token(&self, whose: &Somebody) -> String {
        let claims = self.claims(whose).await;
        self.tokens.sign(claims, self.seconds()).unwrap()
    }

    /// A new operator token of this administrator, with its id.
    pub(crate) async fn operator_token(&self, admin: &Somebody, scopes: &[&str]) -> Value {
        let token = self.token(admin).await;
        let path = "/v1/admin/operator-tokens";
        let request = json!({"name": "a script", "scopes": scopes});
        let made = self.call(&token, "POST", path, Some(&request)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        made.json()
    }

    /// A new invitation, made by this administrator.
    pub(crate) async fn invitation(&self, admin: &Somebody) -> Uuid {
        let token = self.token(admin).await;
        let path = "/v1/admin/invitations";
        let made = self.call(&token, "POST", path, Some(&json!({}))).await;
        made.json()["id"].as_str().unwrap().parse().unwrap()
    }

    /// The id of a new organization.
    pub(crate) async fn organization(&self, founder: &Somebody) -> String {
        let token = self.token(founder).await;
        let name = json!({"name": "School"});
        let path = "/v1/organizations";
        let made = self.call(&token, "POST", path, Some(&name)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        made.json()["id"].as_str().unwrap().to_owned()
    }

    /// A new invitation to become a member, with its code.
    pub(crate) async fn invited(&self, owner: &Somebody, organization: &str, email: &str) -> Value {
        let token = self.token(owner).await;
        let path = format!("/v1/organizations/{organization}/invitations");
        let whom = json!({"email": email, "role": "member"});
        let made = self.call(&token, "POST", &path, Some(&whom)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        made.json()
    }

    /// Makes somebody a member; the membership's id.
    pub(crate) async fn joined(
        &self,
        owner: &Somebody,
        organization: &str,
        whom: &Somebody,
    ) -> String {
        let made = self.invited(owner, organization, &whom.email).await;
        let code = json!({"code": made["code"]});
        let token = self.token(whom).await;
        let path = "/v1/organizations/invitations/accept";
        let joined = self.call(&token, "POST", path, Some(&code)).await;
        assert_eq!(joined.status, StatusCode::OK, "{joined:?}");
        let organization = AccountId::new(organization.parse().unwrap());
        let members = self.store.members(organization, None, 200).await.unwrap();
        let member = members.iter().find(|member| member.person == whom.account);
        member.unwrap().id.to_string()
    }

    /// A token that was mailed to somebody.
    pub(crate) async fn mailed_token(&self, whom: &Somebody, kind: MailedKind) -> String {
        let token = OpaqueToken::generate(kind.opaque()).unwrap();
        let new = NewMailedToken {
            kind,
            token: token.hash(),
            at: self.now(),
        };
        let kept = self.store.keep_mailed_token(&whom.email, &new).await;
        assert!(kept.unwrap().is_some());
        token.expose().to_owned()
    }

    /// A new key.
    pub(crate) async fn key(&self, whose: &Somebody) -> ApiKeyId {
        let key = ClientKey::generate().unwrap();
        let new = NewKey {
            id: ApiKeyId::new(Uuid::now_v7()),
            hash: key.hash(),
            preview: key.preview(),
            name: "test".to_owned(),
            limits: RequestLimits::default(),
            caps: Vec::new(),
            models: ModelAccess::All,
            addresses: AddressAccess::All,
            expires_at: None,
        };
        let created = self.store.create_key(whose.account, None, &new, self.now());
        created.await.unwrap();
        new.id
    }

    /// Makes a model of the price book.
    pub(crate) async fn model(&self, id: &str) {
        let prices = [("prompt", "0.000001"), ("completion", "0.000002")];
        let model = ListedModel {
            id: id.to_owned(),
            pricing: RawPricing {
                prices: prices
                    .map(|(name, price)| (name.to_owned(), price.to_owned()))
                    .into(),
                overrides: Vec::new(),
            },
            context_length: Some(8_000),
            max_completion_tokens: None,
            output_limit: OutputLimit::Supported,
            listing: json!({"id": id}).to_string(),
            served_as: None,
        };
        let (provider, models) = (PriceProvider::OpenRouter, [model]);
        let recorded = self.store.record_models(provider, &models, self.now());
        recorded.await.unwrap();
    }

    /// A replica and a master account, to settle requests with; there can be one.
    pub(crate) async fn books(&self) -> Books {
        Books::new(Arc::clone(&self.store)).await
    }

    /// A request with a list cost of $0.001, for which this account is charged $0.0008.
    pub(crate) async fn request(&self, books: &Books, whose: &Somebody) -> UsageEvent {
        let credit = Adjustment {
            account: whose.account,
            amount: Nanos::new(800_000),
            reason: "a test".to_owned(),
            actor: "a test".to_owned(),
            at: self.now(),
        };
        self.store.adjust(&credit).await.unwrap();
        let client = Client {
            account: whose.account,
            payment: Payment::Prepaid,
            key: self.key(whose).await,
            hash: ClientKey::generate().unwrap().hash(),
        };
        let event = books.event(&client, "0.001");
        books.commit(vec![event.clone()]).await;
        event
    }

    /// Sends a request with these headers; a body is JSON.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(RequestBody::from(body.to_string())),
            None => request.body(RequestBody::empty()),
        };
        self.answer(request.unwrap()).await
    }

    /// Sends any request.
    pub(crate) async fn answer(&self, request: Request<RequestBody>) -> Answer {
        let (parts, body) = self.api.answer(request, HERE).await.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// Sends a request with an access token.
    pub(crate) async fn call(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send(method, path, &[("authorization", &bearer)], body)
            .await
    }

    /// Sends a request without a token.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], Some(body)).await
    }
}
