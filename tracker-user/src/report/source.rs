//! Where answers come from. What is shown does not depend on it.

use std::{thread, time::Duration};

use anyhow::Result;

use crate::ledger::{Answer, Ledger, Question, StoredCall};

/// How long a call may be stored before whoever follows sees it.
const LOOK: Duration = Duration::from_millis(500);
/// Calls that are taken at once from those that came.
const AT_ONCE: u32 = 1000;

/// Whoever answers questions about calls.
pub trait Source {
    /// Who it is, for messages.
    fn name(&self) -> String;

    /// Adds calls up.
    ///
    /// # Errors
    /// It cannot answer.
    fn report(&mut self, question: &Question) -> Result<Answer>;

    /// The latest calls that fit a question, at most `most`, in order. What tells groups apart does not matter.
    ///
    /// # Errors
    /// It cannot answer.
    fn calls(&mut self, question: &Question, most: u32) -> Result<Vec<StoredCall>>;

    /// The same, and then the calls that fit as they come, until `take` fails. At first it may be given none.
    ///
    /// # Errors
    /// It cannot answer; that of `take`.
    fn follow(
        &mut self,
        question: &Question,
        most: u32,
        take: &mut dyn FnMut(&[StoredCall]) -> Result<()>,
    ) -> Result<()>;
}

impl Source for Ledger {
    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn report(&mut self, Question { span, by, conditions }: &Question) -> Result<Answer> {
        Ok(Answer::new(by, &Self::report(self, *span, by, conditions)?))
    }

    fn calls(&mut self, Question { span, conditions, .. }: &Question, most: u32) -> Result<Vec<StoredCall>> {
        Ok(Self::calls(self, *span, conditions, most)?)
    }

    fn follow(
        &mut self,
        Question { span, conditions, .. }: &Question,
        most: u32,
        take: &mut dyn FnMut(&[StoredCall]) -> Result<()>,
    ) -> Result<()> {
        let (mut calls, mut number) = self.calls_and_number(*span, conditions, most)?;
        loop {
            take(&calls)?;
            loop {
                (calls, number) = self.calls_after(number, conditions, AT_ONCE)?;
                if !calls.is_empty() {
                    break;
                }
                thread::sleep(LOOK);
            }
        }
    }
}
