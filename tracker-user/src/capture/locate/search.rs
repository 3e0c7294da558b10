//! What the locators look for in a file, looked for once for all of them.
//!
//! To read the largest programs, which have hundreds of megabytes, takes most of the time. So the constants
//! are read once, for the texts of all locators, and the code once, for all that refers to these texts; and
//! neither before a locator asks.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::elf::Image;
use super::references::{self, Reference};
use super::strings::{self, Text};
use super::walk::Walk;
use super::{Reason, functions};

/// See the module.
pub(super) struct Search<'a> {
    image: &'a Image<'a>,
    texts: Vec<&'static Text>,
    /// Of each text, in the same order.
    addresses: OnceCell<Result<Vec<Vec<u64>>, Reason>>,
    /// To any text.
    references: OnceCell<Result<Vec<Reference>, Reason>>,
}

impl<'a> Search<'a> {
    /// A search for these texts, which begins when something is asked.
    pub(super) fn new(image: &'a Image<'a>, texts: impl Iterator<Item = &'static Text>) -> Self {
        let texts = texts.collect();
        Self { image, texts, addresses: OnceCell::new(), references: OnceCell::new() }
    }

    /// The file.
    pub(super) const fn image(&self) -> &'a Image<'a> {
        self.image
    }

    /// The addresses by which code knows each of some texts, all of which have to be among those that are
    /// searched for.
    ///
    /// # Errors
    /// [`Reason::Unreadable`].
    pub(super) fn addresses<const N: usize>(&self, texts: [&Text; N]) -> Result<[&[u64]; N], Reason> {
        let all = self.all_addresses()?;
        Ok(texts.map(|text| {
            let index = self.texts.iter().position(|known| *known == text);
            debug_assert!(index.is_some(), "a locator has not told that it looks for {text:?}");
            index.and_then(|index| all.get(index)).map_or(&[][..], Vec::as_slice)
        }))
    }

    /// The functions that take one of these addresses, which are those of texts, by their own addresses.
    ///
    /// # Errors
    /// [`Reason::Unreadable`], and [`Reason::NotLocated`] where it would take too long.
    pub(super) fn functions_taking(&self, addresses: &[u64]) -> Result<BTreeMap<u64, Walk>, Reason> {
        let taking = self.references()?.iter().filter(|reference| addresses.contains(&reference.target));
        let places: Vec<u64> = taking.map(|reference| reference.at).collect();
        functions::around(self.image, &places)
    }

    fn all_addresses(&self) -> Result<&[Vec<u64>], Reason> {
        let find = || Ok(strings::find(self.image, &self.texts)?);
        self.addresses.get_or_init(find).as_deref().map_err(Clone::clone)
    }

    fn references(&self) -> Result<&[Reference], Reason> {
        let find = || Ok(references::taking(self.image, &self.all_addresses()?.concat())?);
        self.references.get_or_init(find).as_deref().map_err(Clone::clone)
    }
}
