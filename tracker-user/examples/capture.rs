//! Prints what the kernel side sends, without any payload: `capture OBJECT LIBRARY FUNCTION=DIR:ENTRY:DONE...`
use std::path::Path;
use llm_tracker::capture::*;
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let object = std::fs::read(args.next().unwrap())?;
    let library = args.next().unwrap();
    let mut kernel = Kernel::load(&object, &KernelConfig::default())?;
    let mut ring = kernel.take_ring()?;
    let counters = kernel.take_counters()?;
    let mut held = Vec::new();
    for a in args {
        let v: Vec<&str> = a.split(':').collect();
        let offset = u64::from_str_radix(v[1].trim_start_matches("0x"), 16)?;
        let done: u8 = v[2].parse()?;
        let kind = match v[0] { "r" => HookKind::Transfer(Direction::Read), "w" => HookKind::Transfer(Direction::Write), _ => HookKind::Free };
        let hook = Hook { kind, function: "f", entry_offset: offset, return_offset: Some(offset), transferred: if done == 0 { Transferred::Returned } else { Transferred::StoredThrough(done) }, emulated: true };
        held.push(kernel.attach(&hook, Path::new(&library))?);
    }
    eprintln!("attached {}", held.len());
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(8);
    while tokio::time::Instant::now() < end {
        ring.wait().await?;
        ring.drain(10_000, |e| match e {
            CaptureEvent::Chunk(c) => println!("{:?} {:?} at {} len {} {:?}", c.connection, c.direction, c.offset, c.bytes.len(), String::from_utf8_lossy(&c.bytes[..c.bytes.len().min(40)])),
            CaptureEvent::Exec{..} | CaptureEvent::Exit{..} => {},
            e => println!("{e:?}"),
        });
    }
    println!("{:?} malformed {}", counters.read()?, ring.malformed());
    Ok(())
}
