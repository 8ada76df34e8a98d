//! Organizations, their members, and who may become one.

use std::sync::Arc;

use airouter_auth::{OpaqueKind, OpaqueToken, TokenHash};
use airouter_billing::event::Payment;
use airouter_billing::{AccountId, Nanos, Period, Quantity};
use uuid::Uuid;

use super::client_admin::entry;
use super::world::{Client, START, World, charge, new_key, new_person};
use crate::audit::{AuditVerification, verify_audit};
use crate::clients::{Access, MemberRole, NewOrganization, NewPerson, RequestLimits};
use crate::organizations::{
    Acceptance, MOST_OWNED, MemberChange, MemberRecord, MemberSettings, NewMemberInvitation,
    OrganizationChanged,
};
use crate::{Store, StoreError};

fn organization() -> NewOrganization {
    NewOrganization {
        account: AccountId::new(Uuid::now_v7()),
        name: "School".to_owned(),
        parent: None,
        payment: Payment::Prepaid,
        tier: None,
        caps: Vec::new(),
        limits: RequestLimits::default(),
        at: START,
    }
}

pub(super) async fn person(store: &Arc<dyn Store>) -> NewPerson {
    let person = new_person(Payment::Prepaid);
    store.create_person(&person).await.unwrap();
    person
}

pub(super) async fn founded(store: &Arc<dyn Store>, founder: &NewPerson) -> AccountId {
    let new = organization();
    let entry = entry(new.account, "organization.create");
    let founded = store.found(&new, founder.account, &entry).await.unwrap();
    assert_eq!(founded, OrganizationChanged::Yes);
    new.account
}

pub(super) fn invitation(
    organization: AccountId,
    email: &str,
    role: MemberRole,
) -> NewMemberInvitation {
    let code = OpaqueToken::generate(OpaqueKind::Membership).unwrap();
    NewMemberInvitation {
        id: Uuid::now_v7(),
        organization,
        code: code.hash(),
        email: email.to_owned(),
        role,
        expires_at: START.plus_seconds(60),
    }
}

pub(super) async fn invite(store: &Arc<dyn Store>, invitation: &NewMemberInvitation) {
    let entry = entry(invitation.organization, "organization.invite");
    let invited = store.invite_member(invitation, &entry).await.unwrap();
    assert_eq!(invited, OrganizationChanged::Yes);
}

fn acceptance(person: &NewPerson, code: TokenHash) -> Acceptance {
    Acceptance {
        code,
        person: person.account,
        email: person.email.to_uppercase(),
        audit: entry(AccountId::new(Uuid::nil()), "organization.join"),
    }
}

/// Makes the person a member.
pub(super) async fn join(
    store: &Arc<dyn Store>,
    organization: AccountId,
    person: &NewPerson,
    role: MemberRole,
) -> MemberRecord {
    let new = invitation(organization, &person.email, role);
    invite(store, &new).await;
    let accepted = store.accept_invitation(&acceptance(person, new.code)).await;
    assert_eq!(accepted.unwrap(), (OrganizationChanged::Yes, organization));
    member(store, organization, person).await.unwrap()
}

async fn member(
    store: &Arc<dyn Store>,
    organization: AccountId,
    person: &NewPerson,
) -> Option<MemberRecord> {
    let members = store.members(organization, None, 100).await.unwrap();
    members
        .into_iter()
        .find(|member| member.person == person.account)
}

async fn set(
    store: &Arc<dyn Store>,
    organization: AccountId,
    member: &MemberRecord,
    change: impl FnOnce(&mut MemberSettings),
) -> OrganizationChanged {
    let mut settings = member.settings;
    change(&mut settings);
    let change = MemberChange {
        expected: member.settings,
        settings,
        audit: entry(organization, "organization.member.change"),
    };
    let changed = store.change_member(organization, member.id, &change).await;
    changed.unwrap()
}

async fn remove(
    store: &Arc<dyn Store>,
    organization: AccountId,
    member: &MemberRecord,
) -> Result<OrganizationChanged, StoreError> {
    let entry = entry(organization, "organization.member.remove");
    store.remove_member(organization, member.id, &entry).await
}

/// Who founds an organization owns it; others see nothing of it. Nobody owns more than so many.
pub async fn an_organization_belongs_to_its_founder(store: Arc<dyn Store>) {
    let (founder, other) = (person(&store).await, person(&store).await);
    let first = founded(&store, &founder).await;
    let seen = async |person: &NewPerson| {
        let found = store.organization_of(person.account, first).await;
        found.unwrap()
    };
    let found = seen(&founder).await.unwrap();
    assert_eq!((found.account, found.role), (first, MemberRole::Owner));
    assert_eq!(found.name, "School");
    assert_eq!(seen(&other).await, None);
    assert_eq!(store.balance(first).await.unwrap().balance, Nanos::ZERO);
    let entry = entry(first, "organization.rename");
    let renamed = store.rename_organization(first, "College", &entry).await;
    renamed.unwrap();
    assert_eq!(seen(&founder).await.unwrap().name, "College");
    for _ in 1..MOST_OWNED {
        founded(&store, &founder).await;
    }
    let beyond = organization();
    let refused = store.found(&beyond, founder.account, &entry).await;
    assert_eq!(refused.unwrap(), OrganizationChanged::TooMany);
    assert!(store.balance(beyond.account).await.is_err());
    let most = u16::try_from(MOST_OWNED).unwrap();
    let page = async |after, limit| {
        let found = store.organizations_of(founder.account, after, limit).await;
        found.unwrap()
    };
    let all = page(None, 100).await;
    assert_eq!(all.len(), usize::from(most));
    assert_eq!(page(Some(all[2].account), 3).await, all[3..6]);
    let none = store.organizations_of(other.account, None, 10).await;
    assert_eq!(none.unwrap(), []);
    let verified = verify_audit(&*store).await.unwrap();
    assert_eq!(verified, AuditVerification::Whole(MOST_OWNED + 1));
}

/// An invitation makes one person a member: whose e-mail address it is for, in time, and once.
pub async fn an_invitation_makes_one_member(store: Arc<dyn Store>) {
    let (founder, guest) = (person(&store).await, person(&store).await);
    let stranger = person(&store).await;
    let school = founded(&store, &founder).await;
    let new = invitation(school, &guest.email, MemberRole::Member);
    invite(&store, &new).await;
    let open = async || store.member_invitations(school, None, 10).await.unwrap();
    assert_eq!(open().await[0].id, new.id);
    let is_refused = async |acceptance: &Acceptance| {
        let refused = store.accept_invitation(acceptance).await;
        matches!(refused, Err(StoreError::NotFound { .. }))
    };
    assert!(is_refused(&acceptance(&stranger, new.code)).await);
    let mut late = acceptance(&guest, new.code);
    late.audit.at = new.expires_at;
    assert!(is_refused(&late).await);
    let accepted = store.accept_invitation(&acceptance(&guest, new.code)).await;
    assert_eq!(accepted.unwrap(), (OrganizationChanged::Yes, school));
    assert!(is_refused(&acceptance(&guest, new.code)).await);
    assert_eq!(open().await, []);
    let joined = member(&store, school, &guest).await.unwrap();
    assert_eq!(joined.settings.role, MemberRole::Member);
    assert_eq!((&joined.email, &joined.name), (&guest.email, &guest.name));

    let again = invitation(school, &guest.email, MemberRole::Owner);
    invite(&store, &again).await;
    let twice = store
        .accept_invitation(&acceptance(&guest, again.code))
        .await;
    assert_eq!(twice.unwrap().0, OrganizationChanged::Member);
    let entry = entry(school, "organization.invitation.revoke");
    let revoke = async |organization| {
        store
            .revoke_member_invitation(organization, again.id, &entry)
            .await
    };
    let elsewhere = founded(&store, &stranger).await;
    assert!(matches!(
        revoke(elsewhere).await,
        Err(StoreError::NotFound { .. })
    ));
    revoke(school).await.unwrap();
    assert!(matches!(
        revoke(school).await,
        Err(StoreError::NotFound { .. })
    ));
    assert!(is_refused(&acceptance(&guest, again.code)).await);
}

/// Who is removed spends no more from the organization, and is the same member again after coming back; the keys that were
/// revoked stay so. What was spent stays accounted for.
pub async fn a_removed_member_spends_no_more(store: Arc<dyn Store>) {
    let world = World::new(Arc::clone(&store)).await;
    let (founder, teacher) = (person(&store).await, person(&store).await);
    let school = founded(&store, &founder).await;
    let joined = join(&store, school, &teacher, MemberRole::Member).await;
    let key = new_key(Vec::new());
    let own = new_key(Vec::new());
    let create = async |payer, key: &_| store.create_key(teacher.account, payer, key, START).await;
    create(Some(school), &key).await.unwrap();
    create(None, &own).await.unwrap();
    let client = Client {
        account: school,
        payment: Payment::Prepaid,
        key: key.id,
        hash: key.hash,
    };
    world.adjust(&client, 1_000).await;
    let changed = set(&store, school, &joined, |settings| {
        settings.daily_limit = Some(Nanos::new(100));
    });
    assert_eq!(changed.await, OrganizationChanged::Yes);
    let budgets = world.snapshot(&client).await.budgets;
    assert_eq!(budgets.len(), 2);
    let mut event = world.event(&client, "0.00000005");
    for budget in budgets.iter() {
        world.lease(*budget, 40).await;
        event.charges.push(charge(*budget, 40, 0));
    }
    world.commit(vec![event]).await;
    // A limit that is set counts what was spent before.
    let joined = member(&store, school, &teacher).await.unwrap();
    let changed = set(&store, school, &joined, |settings| {
        settings.monthly_limit = Some(Nanos::new(50));
    });
    assert_eq!(changed.await, OrganizationChanged::Yes);
    let budgets = world.snapshot(&client).await.budgets;
    let month = budgets
        .iter()
        .find(|budget| (budget.quantity, budget.period) == (Quantity::Nanos, Period::Month));
    assert_eq!(world.free(*month.unwrap()).await, 10);
    let usage = store.key_usage(key.id, START).await.unwrap();
    assert_eq!(usage.limit.unwrap().remaining, Nanos::new(10));

    let joined = member(&store, school, &teacher).await.unwrap();
    let removed = remove(&store, school, &joined).await.unwrap();
    assert_eq!(removed, OrganizationChanged::Yes);
    assert!(member(&store, school, &teacher).await.is_none());
    assert!(matches!(
        remove(&store, school, &joined).await,
        Err(StoreError::NotFound { .. })
    ));
    let access = async |hash| store.key_by_hash(hash).await.unwrap().unwrap().access;
    assert_eq!(access(&key.hash).await, Access::Revoked);
    assert_eq!(access(&own.hash).await, Access::Granted);
    let refused = create(Some(school), &new_key(Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    let back = join(&store, school, &teacher, MemberRole::Member).await;
    assert_eq!((back.id, back.settings), (joined.id, joined.settings));
    assert_eq!(access(&key.hash).await, Access::Revoked);
    create(Some(school), &new_key(Vec::new())).await.unwrap();
    world.assert_adds_up(1).await;
}

/// An organization always has an owner, and of two who change a member the same moment one must look again.
pub async fn the_last_owner_stays(store: Arc<dyn Store>) {
    let (founder, second) = (person(&store).await, person(&store).await);
    let school = founded(&store, &founder).await;
    let owner = member(&store, school, &founder).await.unwrap();
    let to_member = |settings: &mut MemberSettings| settings.role = MemberRole::Member;
    let demoted = set(&store, school, &owner, to_member).await;
    assert_eq!(demoted, OrganizationChanged::LastOwner);
    let removed = remove(&store, school, &owner).await.unwrap();
    assert_eq!(removed, OrganizationChanged::LastOwner);
    let joined = join(&store, school, &second, MemberRole::Owner).await;
    // Of two who leave at once one stays.
    let (one, other) = futures_util::future::join(
        remove(&store, school, &owner),
        remove(&store, school, &joined),
    )
    .await;
    let outcomes = [one.unwrap(), other.unwrap()];
    assert!(outcomes.contains(&OrganizationChanged::Yes));
    assert!(outcomes.contains(&OrganizationChanged::LastOwner));
    let left = store.members(school, None, 10).await.unwrap();
    assert_eq!(left.len(), 1);
    let stale = MemberRecord {
        settings: MemberSettings {
            role: MemberRole::Member,
            ..left[0].settings
        },
        ..left[0].clone()
    };
    let late = set(&store, school, &stale, |_| {}).await;
    assert_eq!(late, OrganizationChanged::Conflict);
}
