//! What every adapter must do: one function a promise, each given a database of its own with the schema and nothing
//! else. [`conformance_tests!`](crate::conformance_tests) makes a test of each.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "the suite is code of tests, in a crate so that every adapter can use it: a promise that is broken panics"
)]

mod attempts;
mod client_admin;
mod clients;
mod commits;
mod corrections;
mod erasure;
mod free_quota;
mod idempotency;
mod identities;
mod inventory;
mod invitations;
mod key_admin;
mod leases;
mod ledger;
mod logins;
mod mailed_tokens;
mod master_accounts;
mod operator_tokens;
mod organizations;
mod prices;
mod reconciliation;
mod refunds;
mod replicas;
mod reports;
mod requests;
mod sale;
mod second_factors;
mod usage;
mod usage_by_member;
mod workload;
mod world;

pub use attempts::*;
pub use client_admin::*;
pub use clients::*;
pub use commits::*;
pub use corrections::*;
pub use erasure::*;
pub use free_quota::*;
pub use idempotency::*;
pub use identities::*;
pub use inventory::*;
pub use invitations::*;
pub use key_admin::*;
pub use leases::*;
pub use ledger::*;
pub use logins::*;
pub use mailed_tokens::*;
pub use master_accounts::*;
pub use operator_tokens::*;
pub use organizations::*;
pub use prices::*;
pub use reconciliation::*;
pub use refunds::*;
pub use replicas::*;
pub use reports::*;
pub use requests::*;
pub use sale::*;
pub use second_factors::*;
pub use usage::*;
pub use usage_by_member::*;
pub use workload::*;
pub use world::{Client, START, World, charge, new_person};

/// Makes a `#[tokio::test]` of every promise. The argument names an async function without parameters which returns an
/// `Arc<dyn Store>` of an empty database, and whatever has to live as long as the database does.
#[macro_export]
macro_rules! conformance_tests {
    ($make_store:path) => {
        $crate::conformance_tests!(@each $make_store:
            a_key_is_found_by_its_hash
            a_key_of_an_unknown_account_is_refused
            an_email_address_is_taken_once
            a_key_has_the_budgets_of_its_payers_chain
            a_members_key_spends_from_the_organization
            a_revoked_key_says_so
            a_name_is_of_one_master_account
            an_account_that_serves_keeps_a_key
            an_erased_person_leaves_nothing_personal
            who_has_money_or_an_organization_is_not_erased
            an_impersonation_lasts_as_long_as_the_administrator
            use_of_keys_is_noted
            changes_are_told_in_order
            too_many_changes_are_an_overflow
            an_admin_is_seen
            credentials_are_found_by_email
            a_session_goes_on_until_it_ends
            a_refresh_token_is_exchanged_once
            a_used_refresh_token_ends_its_session
            a_refresh_token_is_exchanged_by_one_of_many
            sessions_are_listed_and_bounded
            a_session_starts_with_the_password_of_now
            a_changed_password_ends_other_sessions
            a_mailed_token_is_used_once
            a_mailed_token_is_for_its_address
            a_reset_ends_all_sessions_and_tokens
            nobody_who_is_disabled_gets_or_uses_a_token
            mailed_tokens_are_bounded
            mailed_tokens_go_with_who_is_erased
            a_second_factor_goes_with_who_is_erased
            a_second_factor_is_begun_and_confirmed
            a_time_step_is_used_once
            a_recovery_code_is_used_once
            a_second_factor_is_removed
            attempts_are_counted_until_a_pause
            an_attempt_counts_for_all_or_none
            attempts_at_once_are_all_counted
            attempts_are_taken_back
            keys_are_listed_and_revoked_by_their_owner
            a_key_is_seen_by_its_owner_and_its_payer
            a_key_is_changed_as_it_was_seen
            a_limit_counts_what_was_spent_before
            an_organization_belongs_to_its_founder
            an_invitation_makes_one_member
            a_removed_member_spends_no_more
            the_last_owner_stays
            clients_are_listed_and_found
            a_booking_is_audited
            a_booking_is_made_once_for_its_key
            a_client_is_disabled_and_enabled
            a_client_is_changed_as_it_was_seen
            an_invitation_is_used_once
            an_identity_registers_one_person
            an_identity_registers_with_an_invitation
            an_identity_is_linked_on_good_grounds
            an_identity_goes_with_who_is_erased
            the_last_way_to_log_in_stays
            an_operator_token_holds_until_it_ends
            operator_tokens_are_listed_and_their_use_is_noted
            an_invitation_that_does_not_hold_registers_nobody
            a_lease_is_all_or_nothing
            a_lease_leaves_room_for_others
            leases_never_exceed_a_cap
            a_cap_starts_anew_with_its_period
            what_is_given_back_is_free_again
            a_budget_that_does_not_exist_has_nothing_free
            a_charge_within_its_lease_is_paid_whole
            committing_again_changes_nothing
            events_of_a_batch_are_summed
            what_a_hold_leaves_is_free_again
            an_excess_is_covered_by_what_is_free
            an_excess_beyond_what_is_free_is_a_loss
            excesses_are_covered_after_all_others
            a_fenced_replicas_charges_are_an_excess
            a_lost_request_charges_nothing
            a_metered_request_is_owed
            requests_are_counted
            a_key_cap_bounds_what_is_charged
            pending_requests_are_replaced_and_removed
            an_ended_replica_frees_its_leases
            an_ended_replicas_requests_are_taken_over_once
            a_live_replicas_requests_stay_its_own
            a_replicas_own_requests_are_told
            a_request_is_booked_once_by_whoever_comes_first
            an_acknowledged_charge_corrects_its_loss
            a_correction_that_comes_twice_is_booked_once
            a_charge_that_is_waited_for_corrects_nothing
            only_losses_of_a_take_over_are_corrected
            a_correction_takes_what_is_free
            corrections_are_counted_and_ride_with_others
            an_acknowledged_answer_without_usage_is_asked_for_again
            a_loss_leaves_an_answer_without_usage_open
            a_refused_charge_is_owed_beside_its_loss
            a_refused_event_is_kept_and_counted
            a_key_is_one_requests
            a_released_key_is_free
            a_charged_request_keeps_its_key
            keys_are_forgotten_in_time
            a_lost_requests_key_is_free
            an_ended_replicas_key_is_free_and_what_it_served_is_a_loss
            a_key_of_open_usage_is_not_free
            of_many_claims_one_is_granted
            the_ledgers_position_grows
            what_a_database_has_forgotten_is_missed
            what_was_read_can_be_forgotten
            a_credit_is_booked
            a_debit_takes_what_is_free_and_the_rest_is_owed
            an_adjustment_of_nobody_is_refused
            a_recall_is_told
            an_empty_ledger_adds_up
            prices_get_versions
            prices_of_the_past_are_known
            a_model_that_is_gone_is_not_sold
            servers_have_price_tables_of_their_own
            bad_prices_are_refused
            master_accounts_are_kept_in_order
            a_key_is_of_one_master_account
            keys_of_a_master_account_come_and_go
            a_master_account_changes
            the_latest_credit_is_kept
            counters_share_a_days_free_quota
            changes_of_master_accounts_are_told
            a_keys_usage_is_reported
            a_generation_is_found_by_its_payer_only
            a_generation_is_pending_until_it_is_settled
            requests_are_listed_in_pages
            a_keys_requests_are_listed_as_they_ended
            requests_are_filtered
            a_page_looks_only_so_far
            a_request_is_told_whole
            a_corrected_request_is_its_correction
            a_refund_gives_back_what_was_charged
            only_charges_are_refunded
            what_is_refunded_is_free_again
            a_refund_pays_what_is_owed
            a_corrected_request_is_refunded
            a_refund_is_booked_once
            what_is_on_sale_is_kept_and_told
            a_plan_gets_versions_and_accounts
            a_generation_has_the_name_that_the_client_used
            changes_of_master_accounts_are_audited
            a_master_account_is_changed_as_it_was_seen
            what_is_on_sale_is_audited_and_changed_as_seen
            a_plan_is_changed_as_it_was_seen
            a_scheduled_version_comes_in_its_time
            a_tier_is_changed_as_it_was_seen
            prices_have_a_history
            what_the_operator_makes_is_audited
            the_audit_log_is_searched
            booked_requests_are_told_once
            requests_of_a_span_are_those_that_ran_in_it
            a_day_is_compared_by_one
            a_finding_is_posted_once
            a_finding_keeps_what_it_rests_on
            of_many_that_find_the_same_one_posts
            findings_and_usage_add_up
            upstream_readings_are_kept
            reports_are_the_sums_of_requests
            reports_are_what_the_ledger_says
            an_organizations_use_is_reported_by_member
            a_key_is_known_to_its_payer
            a_random_workload_adds_up
            concurrent_leases_never_overdraw
        );
    };
    (@each $make_store:path: $($promise:ident)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let (store, _database) = $make_store().await;
                $crate::conformance::$promise(store).await;
            }
        )*
    };
}
