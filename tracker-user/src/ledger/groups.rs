//! Rows to groups: what a question tells apart, added up as it is read.
//!
//! In memory is what the answer has, and no more than a bound of what leads to it, however many rows there are.

use std::collections::HashMap;

use rusqlite::{
    Row, Statement,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    dimension::Dimensions,
    query::LedgerError,
    sums::{self, Sums},
};

/// Calls that are alike in what was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// One value for each dimension asked for; absent where the calls have none.
    pub key: Vec<Option<String>>,
    /// What they add up to.
    pub sums: Sums,
}

/// Rows' groups that are remembered: what is over it is looked up again.
const REMEMBERED: usize = 1 << 16;

/// The groups of an answer.
pub(super) struct Groups {
    /// May not be more than this.
    most: usize,
    /// Columns that tell a row's group.
    told_by: usize,
    /// What they add up to, in the order in which they were found.
    sums: Vec<Sums>,
    /// Which of them a key has.
    keys: HashMap<Vec<Option<String>>, usize>,
    /// Which of them a row has, by what tells it.
    rows: HashMap<Vec<u8>, usize>,
    /// What tells the row at hand.
    row: Vec<u8>,
}

impl Groups {
    pub(super) fn new(most: usize, asked: &Dimensions<'_>) -> Self {
        Self {
            most,
            told_by: asked.told_by(),
            sums: Vec::new(),
            keys: HashMap::new(),
            rows: HashMap::new(),
            row: Vec::new(),
        }
    }

    /// Adds a row of sums, which ends with what tells its group; `names` says what that stands for.
    pub(super) fn add(
        &mut self,
        row: &Row<'_>,
        asked: &Dimensions<'_>,
        names: &mut Statement<'_>,
    ) -> Result<(), LedgerError> {
        const FAILED: usize = sums::COLUMNS;
        let told_by = FAILED + 1..FAILED + 1 + self.told_by;
        self.row.clear();
        for column in told_by.clone() {
            put(&mut self.row, row.get_ref(column)?);
        }
        let group = match self.rows.get(&self.row) {
            Some(group) => *group,
            None => {
                let values: Vec<ToSqlOutput<'_>> = told_by
                    .map(|column| row.get_ref(column).map(ToSqlOutput::Borrowed))
                    .collect::<Result<_, _>>()?;
                let key = names.query_row(rusqlite::params_from_iter(values), |row| asked.key(row))?;
                self.group(key)?
            }
        };
        if let Some(sums) = self.sums.get_mut(group) {
            sums.add_row(row, row.get(FAILED)?)?;
        }
        Ok(())
    }

    /// The group of the row at hand, which has this key.
    fn group(&mut self, key: Vec<Option<String>>) -> Result<usize, LedgerError> {
        let next = self.sums.len();
        let group = *self.keys.entry(key).or_insert(next);
        if group == next {
            if next >= self.most {
                return Err(LedgerError::TooManyGroups(self.most));
            }
            self.sums.push(Sums::default());
        }
        if self.rows.len() >= REMEMBERED {
            self.rows.clear();
        }
        self.rows.insert(self.row.clone(), group);
        Ok(group)
    }

    /// All of them, in no order.
    pub(super) fn into_vec(mut self) -> Vec<Group> {
        let mut sums = |group| self.sums.get_mut(group).map(std::mem::take).unwrap_or_default();
        self.keys.into_iter().map(|(key, group)| Group { key, sums: sums(group) }).collect()
    }
}

/// A value, so that no two lists of values are the same bytes.
fn put(bytes: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => bytes.push(0),
        ValueRef::Integer(number) => {
            bytes.push(1);
            bytes.extend(number.to_le_bytes());
        }
        ValueRef::Real(number) => {
            bytes.push(2);
            bytes.extend(number.to_le_bytes());
        }
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            bytes.push(3);
            bytes.extend(text.len().to_le_bytes());
            bytes.extend(text);
        }
    }
}
