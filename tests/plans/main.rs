// SPDX-License-Identifier: Apache-2.0
//! Bundles in, plans out: no root, no kernel. The host is made up, so the text is the same on every
//! machine.
//!
//! `bundles.rs` has the bundles, `golden.rs` holds the text of each plan against the file of that
//! name in `text/`, `order.rs` holds every plan against the rules of order, `external.rs` what a
//! checkpoint leaves out of some. A changed plan shows as
//! a diff; `BLESS=1 cargo test --test plans` writes the files anew, for review.
#![allow(clippy::unwrap_used)]

mod bundles;
mod diff;
mod external;
mod golden;
mod order;
