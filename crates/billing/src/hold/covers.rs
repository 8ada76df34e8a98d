//! Whether a hold also bounds what a request costs at a server that obeys no `max_price`.

use rust_decimal::Decimal;

use super::{
    Candidate, Hold, HoldRequest, MaxPrice, TextBytesPerToken, candidate_rates, dearest_rates,
    input_price,
};

/// Whether the price of `request` stays within `hold`, which was decided for it, if `offer` serves it with as many tokens
/// of an answer at most as the hold is enough for: neither the prompt, at either number of bytes a token, nor a token of the
/// answer costs more than what the hold rests on. The offer's own prices are what it charges: no tolerance is added.
pub fn covers(request: &HoldRequest<'_>, hold: &Hold, offer: &Candidate<'_>) -> bool {
    let offered = HoldRequest {
        candidates: std::slice::from_ref(offer),
        ..request.clone()
    };
    let no_ceiling = MaxPrice::default();
    let Some(its_rates) = candidate_rates(&offered, offer, &no_ceiling, Decimal::ONE) else {
        return false;
    };
    let Ok(held_rates) = dearest_rates(request, &hold.max_price) else {
        return false;
    };
    let is_prompt_covered = |per_token: TextBytesPerToken| {
        let its = input_price(&offered, its_rates, per_token);
        let held = input_price(request, held_rates, per_token);
        its.is_ok_and(|its| held.is_ok_and(|held| its <= held))
    };
    its_rates.output <= held_rates.output
        && is_prompt_covered(TextBytesPerToken::Two)
        && is_prompt_covered(TextBytesPerToken::One)
}
