//! Ledgers of agents that have parents: what a child gets leaves its parent, and what it did not use returns.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use ak_json::{Digest, Object, Text, Value, object};

use super::{BudgetExceeded, Dimension, Ledger, Reservation, Status};

/// Ledgers in a tree.
///
/// A child is opened with an *allotment* in some dimensions: it stays reserved in the parent for as long as
/// the child lives, and is the child's limit. What the child spends of it needs no more room in the parent.
/// In every other dimension the child spends from its own ledger and its ancestors' alike. So no subtree ever
/// uses more than its root may.
///
/// ```
/// use ak_policy::budget::{BudgetTree, Dimension::Tokens};
/// let mut budgets = BudgetTree::default();
/// budgets.open("main", None, &[])?;
/// budgets.set_limit("main", Tokens, Some(1_000));
/// budgets.open("worker", Some("main"), &[(Tokens, 400)])?;
/// assert!(budgets.reserve("main", &[(Tokens, 601)]).is_err());
/// let reservation = budgets.reserve("worker", &[(Tokens, 400)])?;
/// budgets.settle(reservation, &[(Tokens, 150)]);
/// budgets.close("worker")?;
/// assert_eq!(budgets.status("main", Tokens).map(|status| status.remaining()), Some(850));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BudgetTree {
    accounts: BTreeMap<Text, Account>,
}

#[derive(Debug, PartialEq, Eq)]
struct Account {
    parent: Option<Text>,
    ledger: Ledger,
    allotment: Vec<(Dimension, u64)>,
    /// The parent's and its ancestors' reservation of the allotment.
    held: TreeReservation,
}

/// A claim on a [`BudgetTree`]: one on each ledger that it touches.
#[must_use = "a reservation that is neither settled nor released blocks its amount for ever"]
#[derive(Debug, PartialEq, Eq)]
pub struct TreeReservation {
    account: Text,
    claims: Vec<(Text, Reservation)>,
}

/// The ledgers that a spending touches, and what it takes from each.
type Levels = Vec<(Text, Vec<(Dimension, u64)>)>;

/// Why a tree does not do what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// There is an account of this name.
    #[error("the account is open already")]
    Open,
    /// There is no account of this name.
    #[error("there is no such account")]
    Unknown,
    /// It has children or open reservations.
    #[error("the account is in use")]
    Busy,
    /// A ledger has no room.
    #[error(transparent)]
    Exceeded(#[from] BudgetExceeded),
}

impl BudgetTree {
    /// Opens an account, taking its allotment from the parent.
    ///
    /// # Errors
    /// [`BudgetError`] when the name is taken, the parent unknown or without room; nothing is taken then.
    pub fn open(
        &mut self,
        name: &str,
        parent: Option<&str>,
        allotment: &[(Dimension, u64)],
    ) -> Result<(), BudgetError> {
        if self.accounts.contains_key(name) {
            return Err(BudgetError::Open);
        }
        let held = match parent {
            Some(parent) => self.reserve(parent, allotment)?,
            None => TreeReservation { account: Text::new(), claims: Vec::new() },
        };
        let mut ledger = Ledger::default();
        for &(dimension, amount) in allotment {
            ledger.set_limit(dimension, Some(amount));
        }
        let account = Account { parent: parent.map(Text::from), ledger, allotment: allotment.to_vec(), held };
        self.accounts.insert(name.into(), account);
        Ok(())
    }

    /// Closes an account: what it used of its allotment stays used in the parent, the rest returns to it.
    ///
    /// # Errors
    /// [`BudgetError`] when there is no such account, or it has children or open reservations.
    pub fn close(&mut self, name: &str) -> Result<(), BudgetError> {
        let account = self.accounts.get(name).ok_or(BudgetError::Unknown)?;
        let is_parent = self.accounts.values().any(|other| other.parent.as_deref() == Some(name));
        if is_parent || account.ledger.has_open() {
            return Err(BudgetError::Busy);
        }
        if let Some(Account { ledger, allotment, held, .. }) = self.accounts.remove(name) {
            let used: Vec<_> =
                allotment.iter().map(|&(dimension, _)| (dimension, ledger.status(dimension).used)).collect();
            self.settle(held, &used);
        }
        Ok(())
    }

    /// Sets or lifts an account's limit. Where it has an allotment, no limit goes beyond that.
    pub fn set_limit(&mut self, name: &str, dimension: Dimension, limit: Option<u64>) {
        let Some(account) = self.accounts.get_mut(name) else { return };
        let allotted = account.allotment.iter().find(|(own, _)| *own == dimension).map(|(_, amount)| *amount);
        let limit = match (limit, allotted) {
            (Some(limit), Some(allotted)) => Some(limit.min(allotted)),
            (limit, allotted) => limit.or(allotted),
        };
        account.ledger.set_limit(dimension, limit);
    }

    /// Where a dimension of an account stands.
    pub fn status(&self, name: &str, dimension: Dimension) -> Option<Status> {
        Some(self.accounts.get(name)?.ledger.status(dimension))
    }

    /// Reserves all the amounts in every ledger that they touch, or nothing anywhere.
    ///
    /// # Errors
    /// [`BudgetError::Exceeded`] names the first dimension without room, the account's own ledger first.
    pub fn reserve(
        &mut self,
        name: &str,
        amounts: &[(Dimension, u64)],
    ) -> Result<TreeReservation, BudgetError> {
        let levels = self.levels(name, amounts).ok_or(BudgetError::Unknown)?;
        for (level, amounts) in &levels {
            self.accounts.get(level).ok_or(BudgetError::Unknown)?.ledger.check(amounts)?;
        }
        let mut claims = Vec::with_capacity(levels.len());
        for (level, amounts) in levels {
            // Every ledger was asked above, and no ledger stands twice in a lineage.
            if let Some(account) = self.accounts.get_mut(&level) {
                claims.push((level, account.ledger.reserve(&amounts)?));
            }
        }
        Ok(TreeReservation { account: name.into(), claims })
    }

    /// Records what was actually used; see [`Ledger::settle`].
    pub fn settle(&mut self, reservation: TreeReservation, actual: &[(Dimension, u64)]) {
        let levels = self.levels(&reservation.account, actual).unwrap_or_default();
        for (claimed, claim) in reservation.claims {
            let actual = levels.iter().find(|(level, _)| *level == claimed);
            if let Some(account) = self.accounts.get_mut(&claimed) {
                account.ledger.settle(claim, actual.map_or(&[], |(_, amounts)| amounts));
            }
        }
    }

    /// Gives back what was reserved: the work was not done.
    pub fn release(&mut self, reservation: TreeReservation) {
        for (claimed, claim) in reservation.claims {
            if let Some(account) = self.accounts.get_mut(&claimed) {
                account.ledger.release(claim);
            }
        }
    }

    /// Takes back what was freed; see [`Ledger::credit`].
    pub fn credit(&mut self, name: &str, dimension: Dimension, amount: u64) {
        for (level, _) in self.levels(name, &[(dimension, amount)]).unwrap_or_default() {
            if let Some(account) = self.accounts.get_mut(&level) {
                account.ledger.credit(dimension, amount);
            }
        }
    }

    /// The ledgers that a spending touches, the account's own first, and what it takes from each: a dimension
    /// in which an account has an allotment goes no further up.
    fn levels(&self, name: &str, amounts: &[(Dimension, u64)]) -> Option<Levels> {
        let mut levels = Vec::new();
        let mut amounts = amounts.to_vec();
        let mut next = Some(Text::from(name));
        while let Some(name) = next {
            let account = self.accounts.get(&name)?;
            levels.push((name, amounts.clone()));
            amounts.retain(|(dimension, _)| !account.allotment.iter().any(|(own, _)| own == dimension));
            next = if amounts.is_empty() { None } else { account.parent.clone() };
        }
        Some(levels)
    }

    /// The whole state as JSON.
    pub fn to_value(&self) -> Value {
        let accounts = self.accounts.iter().map(|(name, account)| {
            let allotment = account.allotment.iter().map(|(dimension, amount)| (dimension.as_str(), *amount));
            let state = object! {
                "parent": account.parent.as_ref().map(Value::from),
                "allotment": allotment.collect::<Object>(),
                "ledger": account.ledger.to_value(),
            };
            (name, state)
        });
        Value::Object(accounts.collect::<Object>())
    }

    /// The digest of [`to_value`](Self::to_value), for the kernel's state digest.
    pub fn digest(&self) -> Digest {
        self.to_value().digest()
    }
}
