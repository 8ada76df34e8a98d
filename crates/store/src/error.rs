//! What can go wrong with a database.

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be reached, is locked or is full, and has changed nothing. Trying again later may help.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database was lost, or did not answer in time, when the change was under way: it may or may not have happened.
    #[error("the database did not say whether it is done: {0}")]
    InDoubt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database refused a statement: a constraint would be broken. Trying again does not help.
    #[error("the database refused a change: {0}")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A stored value can't be read.
    #[error("{table}.{column} of row {row} can't be read")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's id.
        row: String,
    },
    /// Another replica has taken over what this one owned.
    #[error("this replica's ownership has ended")]
    Fenced,
    /// What the change is for does not exist.
    #[error("{what} was not found")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// It exists already.
    #[error("{what} exists already")]
    Exists {
        /// What exists.
        what: &'static str,
    },
    /// It is not any more what the author of the change has seen.
    #[error("it was changed meanwhile")]
    ChangedMeanwhile,
    /// It can't go: something has it.
    #[error("{what} is in use")]
    InUse {
        /// What is used.
        what: &'static str,
    },
    /// Sums that do not fit.
    #[error("an amount is out of range")]
    OutOfRange,
}

impl StoreError {
    /// Whether trying again later may help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::InDoubt(_))
    }
}
