//! Every route, in groups by who may call.

use std::sync::Arc;

use airouter_store::operator_tokens::Scope;
use axum::Router;
use axum::middleware::from_fn_with_state;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::admin::{
    aliases, audit_log, clients, invitations, logs, master_accounts, models, operator_tokens,
    plans, prices, settings, stats, tiers,
};
use crate::auth::{
    api_keys, identities, login, logout, me, oidc, password, password_reset, refresh, register,
    second_factor, sessions, verify_email,
};
use crate::caller::{admins_only, everybody, logins_only, operators_only};
use crate::client::{balance, recent_requests, request, usage};
use crate::document;
use crate::organizations::{self, invitations as memberships, members};
use crate::problem::Problem;
use crate::shared::Shared;

pub(crate) type Group = OpenApiRouter<Arc<Shared>>;

/// For everybody.
pub(crate) fn public() -> Group {
    Group::default()
        .routes(routes!(document::openapi))
        .routes(routes!(register::register))
        .routes(routes!(login::login))
        .routes(routes!(refresh::refresh))
        .routes(routes!(verify_email::verify_email))
        .routes(routes!(password_reset::request_password_reset))
        .routes(routes!(password_reset::confirm::confirm_password_reset))
        .routes(routes!(oidc::shown::login_provider))
        .routes(routes!(
            oidc::begin::go_to_provider,
            oidc::begin::begin_login
        ))
        .routes(routes!(oidc::callback::come_back))
}

/// For whoever has logged in.
pub(crate) fn logins() -> Group {
    Group::default()
        .routes(routes!(logout::logout))
        .routes(routes!(me::me))
        .routes(routes!(password::change_password))
        .routes(routes!(verify_email::resend::resend_email_verification))
        .routes(routes!(
            api_keys::list::list_api_keys,
            api_keys::create::create_api_key
        ))
        .routes(routes!(
            api_keys::one::api_key,
            api_keys::change::change_api_key,
            api_keys::revoke::revoke_api_key
        ))
        .routes(routes!(sessions::list::list_sessions))
        .routes(routes!(sessions::end::end_session))
        .routes(routes!(
            identities::list::list_identities,
            identities::link::link_identity
        ))
        .routes(routes!(identities::unlink::unlink_identity))
        .routes(routes!(balance::balance))
        .routes(routes!(recent_requests::recent_requests))
        .routes(routes!(request::client_request))
        .routes(routes!(usage::total::usage))
        .routes(routes!(usage::daily::daily_usage))
        .routes(routes!(usage::models::models_usage))
        .routes(routes!(usage::keys::keys_usage))
        .routes(routes!(
            second_factor::status::second_factor,
            second_factor::begin::begin_second_factor
        ))
        .routes(routes!(second_factor::confirm::confirm_second_factor))
        .routes(routes!(second_factor::recovery_codes::new_codes))
        .routes(routes!(second_factor::remove::remove_second_factor))
        .merge(in_organizations())
}

/// For whoever has logged in, too; what it is to the organization, handlers look at.
fn in_organizations() -> Group {
    Group::default()
        .routes(routes!(
            organizations::list::list_organizations,
            organizations::create::create_organization
        ))
        .routes(routes!(
            organizations::one::organization,
            organizations::rename::rename_organization
        ))
        .routes(routes!(organizations::balance::organization_balance))
        .routes(routes!(
            organizations::api_keys::list::list_organization_api_keys
        ))
        .routes(routes!(
            organizations::api_keys::revoke::revoke_organization_api_key
        ))
        .routes(routes!(organizations::usage::total::organization_usage))
        .routes(routes!(
            organizations::usage::daily::organization_daily_usage
        ))
        .routes(routes!(
            organizations::usage::models::organization_models_usage
        ))
        .routes(routes!(organizations::usage::keys::organization_keys_usage))
        .routes(routes!(
            organizations::usage::members::organization_members_usage
        ))
        .routes(routes!(
            organizations::usage::recent_requests::organization_recent_requests
        ))
        .routes(routes!(members::list::list_members))
        .routes(routes!(
            members::one::member,
            members::change::change_member,
            members::remove::remove_member
        ))
        .routes(routes!(
            memberships::list::list_member_invitations,
            memberships::create::invite_member
        ))
        .routes(routes!(memberships::revoke::revoke_member_invitation))
        .routes(routes!(memberships::accept::accept_invitation))
}

/// For administrators who have logged in.
pub(crate) fn admins() -> Group {
    Group::default()
        .routes(routes!(
            operator_tokens::list::list_operator_tokens,
            operator_tokens::create::create_operator_token
        ))
        .routes(routes!(operator_tokens::revoke::revoke_operator_token))
        .routes(routes!(
            clients::remove_second_factor::remove_client_second_factor
        ))
        .routes(routes!(clients::erase::erase_client))
        .routes(routes!(clients::impersonate::impersonate_client))
}

/// For administrators, and for operator tokens with this scope.
pub(crate) fn operators(scope: Scope) -> Group {
    let group = Group::default();
    match scope {
        Scope::ClientsRead => group
            .routes(routes!(clients::list::list_clients))
            .routes(routes!(clients::one::client))
            .routes(routes!(clients::api_keys::list::list_client_api_keys))
            .routes(routes!(clients::api_keys::one::client_api_key)),
        Scope::ClientsWrite => group
            .routes(routes!(clients::change::change_client))
            .routes(routes!(clients::disable::disable_client))
            .routes(routes!(clients::enable::enable_client))
            .routes(routes!(clients::api_keys::create::create_client_api_key))
            .routes(routes!(
                clients::api_keys::change::change_client_api_key,
                clients::api_keys::revoke::revoke_client_api_key
            )),
        Scope::MoneyWrite => group
            .routes(routes!(clients::credit::credit_client))
            .routes(routes!(clients::debit::debit_client))
            .routes(routes!(logs::refund::refund_request)),
        Scope::LogsRead => group
            .routes(routes!(logs::list::list_logs))
            .routes(routes!(logs::one::log)),
        Scope::StatsRead => group.routes(routes!(stats::stats)),
        Scope::AuditRead => group.routes(routes!(audit_log::audit_log)),
        Scope::Invitations => group
            .routes(routes!(
                invitations::list::list_invitations,
                invitations::create::create_invitation
            ))
            .routes(routes!(invitations::revoke::revoke_invitation)),
        Scope::InventoryRead => inventory_read(group),
        Scope::InventoryWrite => inventory_write(group),
        Scope::PricesRead => group
            .routes(routes!(prices::list::list_prices))
            .routes(routes!(prices::history::price_history))
            .routes(routes!(plans::list::list_plans))
            .routes(routes!(plans::one::plan))
            .routes(routes!(plans::versions::plan_versions))
            .routes(routes!(plans::schedule::list::scheduled_plan_versions))
            .routes(routes!(tiers::list::list_tiers))
            .routes(routes!(tiers::one::tier)),
        Scope::PricesWrite => group
            .routes(routes!(plans::create::create_plan))
            .routes(routes!(plans::change::change_plan))
            .routes(routes!(plans::schedule::add::schedule_plan_version))
            .routes(routes!(
                plans::schedule::cancel::cancel_scheduled_plan_version
            ))
            .routes(routes!(tiers::set::set_tier, tiers::remove::remove_tier)),
    }
}

fn inventory_read(group: Group) -> Group {
    group
        .routes(routes!(master_accounts::list::list_master_accounts))
        .routes(routes!(master_accounts::one::master_account))
        .routes(routes!(master_accounts::price_table::price_table))
        .routes(routes!(models::list::list_models))
        .routes(routes!(models::default::default_model))
        .routes(routes!(aliases::list::list_aliases))
        .routes(routes!(aliases::one::alias))
        .routes(routes!(settings::settings))
}

fn inventory_write(group: Group) -> Group {
    group
        .routes(routes!(master_accounts::create::create_master_account))
        .routes(routes!(master_accounts::change::change_master_account))
        .routes(routes!(master_accounts::add_key::add_master_account_key))
        .routes(routes!(
            master_accounts::remove_key::remove_master_account_key
        ))
        .routes(routes!(master_accounts::pause::pause_master_account))
        .routes(routes!(master_accounts::drain::drain_master_account))
        .routes(routes!(master_accounts::resume::resume_master_account))
        .routes(routes!(master_accounts::test::test_master_account))
        .routes(routes!(master_accounts::set_price_table::set_price_table))
        .routes(routes!(models::change::change_model))
        .routes(routes!(models::set_default::set_default_model))
        .routes(routes!(
            aliases::set::set_alias,
            aliases::remove::remove_alias
        ))
}

/// All of them, each group behind its gate.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let logins_gate = from_fn_with_state(Arc::clone(&shared), logins_only);
    let admins_gate = from_fn_with_state(Arc::clone(&shared), admins_only);
    let public_gate = from_fn_with_state(Arc::clone(&shared), everybody);
    let mut all = public()
        .route_layer(public_gate)
        .merge(logins().route_layer(logins_gate))
        .merge(admins().route_layer(admins_gate));
    for scope in Scope::ALL {
        let gate = from_fn_with_state((Arc::clone(&shared), scope), operators_only);
        all = all.merge(operators(scope).route_layer(gate));
    }
    Router::from(all)
        .fallback(|| async { Problem::UnknownPath })
        .method_not_allowed_fallback(|| async { Problem::WrongMethod })
        .with_state(shared)
}
