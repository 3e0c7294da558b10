//! Says which TLS stacks are in files, of this machine or of another, and where their functions would be probed.
//!
//!     cargo run --release --example locate -- FILE...

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use llm_tracker::capture::locate::{Image, find};

fn main() -> anyhow::Result<()> {
    for path in std::env::args_os().skip(1) {
        let file = File::open(&path)?;
        let started = Instant::now();
        let located = Image::parse(&file).map_or_else(|_| Vec::new(), |image| find(&image));
        println!("{}: {:.3} s", Path::new(&path).display(), started.elapsed().as_secs_f64());
        for located in located {
            match located.plan {
                Err(reason) => println!("  {}: {reason}", located.stack),
                Ok(plan) => {
                    println!("  {}", located.stack);
                    for hook in plan.hooks {
                        println!("    {hook:x?}");
                    }
                }
            }
        }
    }
    Ok(())
}
