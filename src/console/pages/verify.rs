//! Whether the journal is as it was written: the chain gone over by the daemon, record by record, when somebody asks.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use super::super::desk::Trouble;
use super::super::text as t;
use super::{Shared, Who, bad, conclude};
use crate::daemon::protocol::{Reply, Request};
use crate::journal::chain::{Against, Verification};

/// Has the chain gone over.
pub(super) async fn verify(State(app): Shared, Extension(visitor): Who) -> Response {
    let asked = app.desk.ask(&visitor, Request::Verify { against: Against::default() }).await;
    let how = asked.and_then(|reply| match reply {
        Reply::Verified { found } => said(&found),
        _ => Err(bad(t::ODD_ANSWER)),
    });
    conclude(&app, &visitor, how, "/events")
}

/// What was found. A chain that is broken is no success.
fn said(found: &Verification) -> Result<String, Trouble> {
    match &found.broken {
        Some(broken) => Err(bad(t::chain_broken(broken.event, &broken.what))),
        None => Ok(t::chain_whole(found.records, found.checkpoints, found.signed_to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::chain::Broken;

    #[test]
    fn a_broken_chain_is_no_success_and_names_the_record() {
        let whole = Verification {
            records: 12,
            first: Some(1),
            head: None,
            checkpoints: 2,
            signed_to: Some(10),
            keys: Vec::new(),
            keys_known: false,
            heads_found: 0,
            pruned: None,
            broken: None,
            doubts: Vec::new(),
        };
        assert!(said(&whole).unwrap().contains("12"));
        let broken = Broken { event: 7, what: "its hash is another".into() };
        let found = Verification { broken: Some(broken), ..whole };
        let trouble = said(&found).unwrap_err().to_string();
        assert!(trouble.contains('7') && trouble.contains("its hash is another"), "{trouble}");
    }
}
