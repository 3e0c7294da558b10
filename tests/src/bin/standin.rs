//! The stand-in provider by itself, for trying out clients by hand:
//!
//! ```text
//! unshare -n sh -c 'ip link set lo up; cargo run -p llm-tracker-tests --bin standin -- ca.pem & ...'
//! ```
//!
//! It writes its certificate authority to the file given, says where it listens, and then, once a second,
//! what it has answered.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use llm_tracker_tests::standin::StandIn;

fn main() -> Result<()> {
    let authority =
        std::env::args_os().nth(1).context("which file is the certificate authority to go to?")?;
    let standin = StandIn::start()?;
    std::fs::copy(standin.identity().authority(), authority)?;
    println!("{} http://{}", standin.url(), standin.plain_address());
    let mut known = 0;
    loop {
        let served = standin.served();
        for served in served.iter().skip(known) {
            println!("{} {}", served.path, served.model);
        }
        known = served.len();
        thread::sleep(Duration::from_secs(1));
    }
}
