//! What every adapter must do: one function a promise, each given a database of its own with the schema and nothing
//! else. [`conformance_tests!`](crate::conformance_tests) makes a test of each.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "the suite is code of tests, in a crate so that every adapter can use it: a promise that is broken panics"
)]

mod clients;
mod commits;
mod leases;
mod ledger;
mod prices;
mod replicas;
mod reports;
mod workload;
mod world;

pub use clients::*;
pub use commits::*;
pub use leases::*;
pub use ledger::*;
pub use prices::*;
pub use replicas::*;
pub use reports::*;
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
            use_of_keys_is_noted
            changes_are_told_in_order
            too_many_changes_are_an_overflow
            an_admin_is_seen
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
            a_request_is_booked_once_by_whoever_comes_first
            a_refused_event_is_kept_and_counted
            the_ledgers_position_grows
            a_credit_is_booked
            a_debit_takes_what_is_free_and_the_rest_is_owed
            an_adjustment_of_nobody_is_refused
            a_recall_is_told
            an_empty_ledger_adds_up
            prices_get_versions
            a_model_that_is_gone_is_not_sold
            bad_prices_are_refused
            master_accounts_are_kept_in_order
            a_key_is_one_master_account
            a_keys_usage_is_reported
            a_generation_is_found_by_its_payer_only
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
