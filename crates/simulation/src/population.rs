//! Who there is: accounts, their keys and budgets, and the prices that are in force.

use std::rc::Rc;

use airouter_billing::budget::BudgetId;
use airouter_billing::event::Payment;
use airouter_billing::ids::ModelPricingId;
use airouter_billing::price_book::{ModelPrices, OutputLimit, PriceKey, Pricing, RateCard};
use airouter_billing::{
    AccountId, BudgetRef, Discount, DiscountBasis, MasterAccountId, Nanos, Period, PlanVersionId,
    PriceRule, Quantity,
};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::database::Database;
use crate::dice::Dice;

/// What is in force for one request from its admission on.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) plan_version: PlanVersionId,
    pub(crate) rule: PriceRule,
    pub(crate) model: Rc<ModelPrices>,
}

/// What a request would be priced by now.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) models: Vec<Rc<ModelPrices>>,
    pub(crate) masters: Vec<(MasterAccountId, Discount)>,
    /// One rule for each account.
    pub(crate) rules: Vec<(PlanVersionId, PriceRule)>,
    versions: i64,
}

/// A client key: who pays, and out of what.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) account: usize,
    pub(crate) payer: AccountId,
    pub(crate) payment: Payment,
    pub(crate) budgets: Rc<[BudgetRef]>,
}

#[derive(Debug)]
pub(crate) struct Population {
    pub(crate) accounts: Vec<(AccountId, Payment)>,
    pub(crate) keys: Vec<Key>,
    /// Every cap on money or requests.
    pub(crate) caps: Vec<BudgetRef>,
}

/// Ids by kind and number, so that they are easy to read in a trace.
pub(crate) const fn id(kind: u128, number: u128) -> Uuid {
    Uuid::from_u128((kind << 96) | number)
}

impl Catalog {
    pub(crate) fn new(dice: &mut Dice, accounts: usize) -> Self {
        let mut catalog = Self {
            models: Vec::new(),
            masters: Vec::new(),
            rules: Vec::new(),
            versions: 0,
        };
        for number in 0..4 {
            let prices = catalog.new_prices(dice, number);
            catalog.models.push(prices);
        }
        for number in 0..2 {
            let master = MasterAccountId::new(id(7, number));
            catalog.masters.push((master, any_discount(dice)));
        }
        for _ in 0..accounts {
            let rule = catalog.new_rule(dice);
            catalog.rules.push(rule);
        }
        catalog
    }

    pub(crate) fn terms(&self, account: usize, model: usize) -> Terms {
        let (plan_version, rule) = self.rules[account].clone();
        Terms {
            plan_version,
            rule,
            model: Rc::clone(&self.models[model]),
        }
    }

    /// The largest part of a list cost that serving costs at any master account.
    pub(crate) fn dearest_cost_share(&self) -> Decimal {
        let shares = self
            .masters
            .iter()
            .map(|(_, discount)| discount.cost_share());
        shares.max().unwrap_or(Decimal::ONE)
    }

    /// Another plan, another price or another discount.
    pub(crate) fn change(&mut self, dice: &mut Dice) {
        match dice.between(0, 3) {
            0 => {
                let model = dice.index(self.models.len());
                self.models[model] = self.new_prices(dice, model);
            }
            1 => {
                let account = dice.index(self.rules.len());
                self.rules[account] = self.new_rule(dice);
            }
            _ => {
                let master = dice.index(self.masters.len());
                self.masters[master].1 = any_discount(dice);
            }
        }
    }

    fn next_version(&mut self) -> i64 {
        self.versions += 1;
        self.versions
    }

    fn new_prices(&mut self, dice: &mut Dice, model: usize) -> Rc<ModelPrices> {
        let mut rates = RateCard::default();
        rates.set(PriceKey::Prompt, Decimal::new(dice.between(50, 15_000), 9));
        rates.set(
            PriceKey::Completion,
            Decimal::new(dice.between(200, 75_000), 9),
        );
        if dice.happens(2_000) {
            rates.set(
                PriceKey::Request,
                Decimal::new(dice.between(1, 9_000_000), 9),
            );
        }
        Rc::new(ModelPrices {
            version: ModelPricingId::new(self.next_version()),
            id: format!("model-{model}"),
            pricing: Pricing::Listed {
                base: Box::new(rates),
                overrides: Vec::new(),
            },
            context_length: Some(128_000),
            max_completion_tokens: Some(8_192),
            output_limit: OutputLimit::Supported,
        })
    }

    fn new_rule(&mut self, dice: &mut Dice) -> (PlanVersionId, PriceRule) {
        let rule = match dice.between(0, 4) {
            0 => PriceRule::MarkupOnCost {
                markup: Decimal::new(dice.between(0, 20_000), 4),
            },
            1 => PriceRule::OwnPrices {
                prompt: Decimal::new(dice.between(0, 20_000), 9),
                completion: Decimal::new(dice.between(0, 90_000), 9),
                request: Decimal::new(dice.between(0, 5_000_000), 10),
            },
            _ => PriceRule::PercentOfList {
                factor: Decimal::new(dice.between(1_000, 15_000), 4),
            },
        };
        (PlanVersionId::new(self.next_version()), rule)
    }
}

fn any_discount(dice: &mut Dice) -> Discount {
    let basis = if dice.happens(8_000) {
        DiscountBasis::CreditsBoughtBelowPar
    } else {
        DiscountBasis::InReportedCost
    };
    let fraction = Decimal::new(dice.between(0, 1_000), 3);
    Discount::new(fraction, basis).unwrap_or_else(|_| {
        let none = Discount::new(Decimal::ZERO, basis);
        none.unwrap_or_else(|_| unreachable!("no discount is a discount"))
    })
}

impl Population {
    /// Accounts with keys, caps and first credits.
    pub(crate) fn new(dice: &mut Dice, count: usize, database: &mut Database) -> Self {
        let mut population = Self {
            accounts: Vec::with_capacity(count),
            keys: Vec::new(),
            caps: Vec::new(),
        };
        for number in 0..count {
            population.open_account(dice, number, database);
        }
        population
    }

    fn open_account(&mut self, dice: &mut Dice, number: usize, database: &mut Database) {
        let account = AccountId::new(id(1, number as u128));
        let payment = if dice.happens(6_500) {
            Payment::Prepaid
        } else {
            Payment::Metered
        };
        self.accounts.push((account, payment));
        let mut shared = Vec::new();
        match payment {
            Payment::Prepaid => {
                let line = if dice.happens(2_000) {
                    any_amount(dice)
                } else {
                    0
                };
                database.open_balance(account, Nanos::new(line));
                database.adjust(account, Nanos::new(any_amount(dice)));
            }
            Payment::Metered => {
                if dice.happens(8_000) {
                    shared.push(self.open_cap(dice, Quantity::Nanos, database));
                }
            }
        }
        if dice.happens(3_000) {
            shared.push(self.open_cap(dice, Quantity::Requests, database));
        }
        for _ in 0..=dice.between(0, 3) {
            let mut budgets = Vec::new();
            if dice.happens(4_000) {
                budgets.push(self.open_cap(dice, Quantity::Nanos, database));
            }
            budgets.extend(&shared);
            if payment == Payment::Prepaid {
                budgets.push(BudgetRef {
                    id: BudgetId::Balance(account),
                    quantity: Quantity::Nanos,
                    period: Period::None,
                });
            }
            self.keys.push(Key {
                account: number,
                payer: account,
                payment,
                budgets: budgets.into(),
            });
        }
    }

    fn open_cap(
        &mut self,
        dice: &mut Dice,
        quantity: Quantity,
        database: &mut Database,
    ) -> BudgetRef {
        let cap = match quantity {
            Quantity::Nanos => any_amount(dice),
            Quantity::Requests => dice.between(1, 200),
        };
        let budget_id = id(2, self.caps.len() as u128);
        let budget = BudgetRef {
            id: BudgetId::Cap(budget_id),
            quantity,
            period: dice.one_of(&[Period::None, Period::Day, Period::Day, Period::Month]),
        };
        let cap = (!dice.happens(500)).then_some(cap);
        database.set_cap(budget_id, cap);
        self.caps.push(budget);
        budget
    }
}

/// A hundredth of a cent, or many dollars, or what lies between.
pub(crate) fn any_amount(dice: &mut Dice) -> i64 {
    let magnitude = dice.one_of(&[100_000, 10_000_000, 100_000_000, 10_000_000_000]);
    dice.between(magnitude / 10, magnitude * 3)
}
