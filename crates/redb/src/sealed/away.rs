//! Entries that are away from home: which page is sealed how, where its meta block does not say so yet. Ordered by page, so
//! that those of a group lie together, and compact: one takes 32 bytes in a tree that is at least half full.

use std::collections::BTreeMap;

use crate::format::layout::group_of;
use crate::format::{GROUP_PAGES, PageSeal};

/// What one entry takes in memory at most, with its page in the list of the record that names it.
pub(super) const ENTRY_BYTES: u64 = 72;

#[derive(Default)]
pub(super) struct Away(BTreeMap<u32, PageSeal>);

impl Away {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, page: u32) -> Option<PageSeal> {
        self.0.get(&page).copied()
    }

    pub(super) fn insert(&mut self, page: u32, seal: PageSeal) {
        self.0.insert(page, seal);
    }

    pub(super) fn remove(&mut self, page: u32) {
        self.0.remove(&page);
    }

    /// The entries of a group, ascending.
    pub(super) fn of_group(&self, group: u32) -> impl Iterator<Item = (u32, PageSeal)> {
        let first = group * GROUP_PAGES;
        self.0
            .range(first..=first + (GROUP_PAGES - 1))
            .map(|(&page, &seal)| (page, seal))
    }

    /// The entries of a group are home.
    pub(super) fn remove_group(&mut self, group: u32) {
        let pages: Vec<u32> = self.of_group(group).map(|(page, _)| page).collect();
        for page in pages {
            self.0.remove(&page);
        }
    }

    /// Drops the entries of pages from `page_count` on, and those of groups from `groups` on.
    pub(super) fn truncate(&mut self, page_count: u64, groups: u32) {
        self.0
            .retain(|&page, _| u64::from(page) < page_count && group_of(page) < groups);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, PageSeal)> {
        self.0.iter().map(|(&page, &seal)| (page, seal))
    }

    /// The groups that have entries here, ascending.
    pub(super) fn groups(&self) -> Vec<u32> {
        let mut groups: Vec<u32> = self.0.keys().map(|&page| group_of(page)).collect();
        groups.dedup();
        groups
    }
}
