use ratatui::style::Color;

use super::*;
use crate::live::{Caller, Ended, InFlight, Minute, Sums, Totals};

fn sums(calls: u64) -> Sums {
    Sums {
        calls,
        errors: calls / 4,
        input_tokens: calls * 1000,
        output_tokens: calls * 100,
        calls_with_cost: calls,
        cost_usd: calls as f64 / 4.0,
    }
}

/// So many calls in flight, and as many names of everything.
fn snapshot(many: u64) -> Snapshot {
    let caller = |number: u64| Caller {
        pid: 4_194_000 + number as u32,
        process: Some(format!("process-{number}")),
        uid: Some(1000),
        user: Some("ada".to_owned()),
        container: None,
        agent: None,
        session: None,
    };
    let flight = |number| InFlight {
        caller: caller(number),
        provider: "anthropic".into(),
        operation: "chat".into(),
        model: Some(format!("claude-sonnet-4-5-2025{number}")),
        server_address: None,
        role: "client".into(),
        streaming: true,
        status: Some(200),
        elapsed_seconds: 12.3,
        time_to_first_token_seconds: Some(0.5),
        output_tokens: Some(640),
        usage_source: "estimated".into(),
        output_tokens_per_second: Some(54.2),
    };
    let ended: Vec<Ended> = (0..many)
        .map(|number| {
            let call = serde_json::json!({
                "ended_seconds_ago": 3.0, "pid": number, "process": "curl", "provider": "openai",
                "operation": "chat", "model": "gpt-5", "status": 429, "error": "rate_limit_exceeded",
                "usage_source": "missing", "duration_seconds": 0.25,
            });
            serde_json::from_value(call).unwrap()
        })
        .collect();
    let totals = |calls: u64| Totals {
        in_flight: calls,
        output_tokens_per_second: Some(54.2),
        recent: sums(calls),
        hour: sums(calls * 10),
    };
    let rows = |by: By| -> Vec<Row> {
        let name = |number: u64| Some(format!("{}-{number}", by.as_str())).filter(|_| number > 0);
        (0..many).map(|number| Row { name: name(number), totals: totals(number + 1) }).collect()
    };
    Snapshot {
        at: "2026-01-02T03:04:05.000Z".to_owned(),
        since: "2026-01-02T00:00:00.000Z".to_owned(),
        window_seconds: 250.0,
        totals: totals(many),
        in_flight: (0..many).map(flight).collect(),
        in_flight_omitted: 0,
        ended,
        by: By::ALL.map(|by| (by, rows(by))).into(),
        minutes: vec![Minute { start: "2026-01-02T03:04:00.000Z".to_owned(), sums: sums(many) }],
    }
}

fn view(many: u64) -> View {
    let mut view = View::new(By::Process, Order::Calls, true);
    view.take(Ok(snapshot(many)));
    view
}

fn draw(view: &View, width: u16, height: u16) -> (Vec<String>, Buffer) {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    view.draw(area, &mut buffer);
    let symbols =
        |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
    (buffer.content().chunks(width.into()).map(symbols).collect(), buffer)
}

fn press(view: &mut View, key: char) -> Next {
    view.handle(&Event::Key(KeyCode::Char(key).into()))
}

#[test]
fn eighty_columns_and_24_lines_have_room_for_all_that_matters() {
    let (lines, _) = draw(&view(30), 80, 24);
    assert_eq!(lines.len(), 24);
    let all = lines.join("\n");
    assert!(lines[0].contains("30 in flight  54 tok/s  $108.00/h  7.2 calls/min  23.3 % errors"), "{all}");
    assert!(lines[1].contains("last hour    300 calls  300,000 tokens in  30,000 out  $75.00"), "{all}");
    assert!(lines[3].starts_with("  In flight: 8 of 30"), "{all}");
    assert_eq!(
        lines[4].trim_end(),
        "    PID PROCESS      MODEL                   STATE        TIME  TOKENS  TOK/S"
    );
    assert_eq!(
        lines[5].trim_end(),
        "4194000 process-0    claude-sonnet-4-5-20250 streaming  12.3 s    ~640     54"
    );
    assert!(
        lines[13].starts_with("> By process: 7 of 30, most calls first. Rates: 4 min; tokens, cost: 1 h "),
        "{all}"
    );
    assert!(lines[14].starts_with("PROCESS "), "{all}");
    assert!(lines[15].starts_with("process-29 "), "{all}");
    assert!(
        lines[22].starts_with("p process  c container  m model  s session  v provider  a agent  u user"),
        "{all}"
    );
    assert!(lines[23].trim_end().ends_with("q quit  ~ is our own count"), "{all}");
}

#[test]
fn what_is_wide_has_more_columns_and_no_size_is_too_small() {
    let (lines, _) = draw(&view(3), 200, 50);
    let all = lines.join("\n");
    for column in ["USER", "CONTAINER", "FIRST", "COST", "CALLS"] {
        assert!(all.contains(column), "{column}: {all}");
    }
    assert!(!all.contains(" of "), "{all}");
    for width in [1, 2, 7, 30, 79] {
        for height in 1..12 {
            draw(&view(3), width, height);
        }
    }
}

#[test]
fn keys_do_what_the_help_says() {
    let mut view = view(30);
    for (key, name) in GROUPS {
        assert_eq!(press(&mut view, key), Next::Go);
        let (lines, _) = draw(&view, 80, 24);
        assert!(lines[13].contains(&format!("By {}: ", name.as_str())), "{lines:#?}");
        assert!(lines[22].contains(&format!("{key} {}", name.as_str())));
    }
    press(&mut view, 'e');
    assert!(draw(&view, 80, 24).0[13].contains("Ended in the last five minutes: 7 of 30"));
    assert!(draw(&view, 80, 24).0[15].contains("rate_limit_e"));
    press(&mut view, 'm');
    press(&mut view, 'o');
    assert!(draw(&view, 80, 24).0[13].contains("most tokens first"));
    assert_eq!(press(&mut view, 'q'), Next::Quit);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.handle(&Event::Key(control_c)), Next::Quit);
}

#[test]
fn scrolling_has_an_end() {
    let mut view = view(30);
    for _ in 0..100 {
        press(&mut view, 'j');
    }
    let (lines, _) = draw(&view, 80, 24);
    assert!(lines[15].starts_with("- ") && lines[16].trim().is_empty(), "the last of 30: {lines:#?}");
    view.handle(&Event::Key(KeyCode::Tab.into()));
    press(&mut view, 'j');
    let (lines, _) = draw(&view, 80, 24);
    assert!(lines[3].starts_with("> In flight") && lines[5].starts_with("4194001"), "{lines:#?}");
    // What was there when it was scrolled may have ended.
    for _ in 0..20 {
        press(&mut view, 'j');
    }
    view.take(Ok(snapshot(3)));
    let (lines, _) = draw(&view, 80, 24);
    assert!(lines[3].contains("In flight: 1 of 3") && lines[5].starts_with("4194002"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("By process: 1 of 3")), "{lines:#?}");
    view.take(Ok(snapshot(0)));
    let (lines, _) = draw(&view, 80, 24);
    assert!(lines[3].contains("In flight: 0"), "{lines:#?}");
}

#[test]
fn orders_are_total() {
    let mut rows = snapshot(4).by[&By::Model].clone();
    rows[1].totals.hour.cost_usd = f64::NAN;
    for order in Order::value_variants() {
        order.sort(&mut rows);
    }
    Order::Cost.sort(&mut rows[2..]);
    Order::Name.sort(&mut rows);
    assert_eq!(
        rows.iter().map(|row| row.name.as_deref()).collect::<Vec<_>>(),
        [None, Some("model-1"), Some("model-2"), Some("model-3")]
    );
}

#[test]
fn nobody_there_is_said() {
    let mut view = View::new(By::Model, Order::Calls, true);
    assert!(draw(&view, 80, 24).0[0].starts_with("The daemon is being asked"));
    view.take(Err(anyhow::anyhow!("connection refused").context("no daemon answers")));
    assert!(draw(&view, 80, 24).0[0].starts_with("no daemon answers: connection refused"));
    // What was known is still shown, and said to be old.
    view.take(Ok(snapshot(2)));
    view.take(Err(anyhow::anyhow!("gone")));
    let (lines, _) = draw(&view, 80, 24);
    assert!(
        lines[0].contains("2 in flight")
            && lines[2].starts_with("as it was at 2026-01-02T03:04:05.000Z: gone")
    );
}

#[test]
fn a_pause_keeps_what_is_seen() {
    let mut view = view(2);
    press(&mut view, ' ');
    view.take(Ok(snapshot(3)));
    let (lines, _) = draw(&view, 80, 24);
    assert!(lines[0].contains("2 in flight") && lines[2].starts_with("paused at"), "{lines:#?}");
    press(&mut view, ' ');
    view.take(Ok(snapshot(3)));
    assert!(draw(&view, 80, 24).0[0].contains("3 in flight"));
}

#[test]
fn without_colours_there_are_none() {
    let coloured = |colours| {
        let mut view = View::new(By::Process, Order::Calls, colours);
        view.take(Ok(snapshot(5)));
        view.take(Err(anyhow::anyhow!("gone")));
        let (_, buffer) = draw(&view, 80, 24);
        buffer.content().iter().filter(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset)).count()
    };
    assert_eq!(coloured(false), 0);
    assert!(coloured(true) > 0);
}

#[test]
fn names_cannot_move_the_cursor() {
    let mut hostile = snapshot(1);
    hostile.in_flight[0].model = Some("\u{1b}[2J\u{7}evil\n".to_owned());
    let mut view = View::new(By::Process, Order::Calls, true);
    view.take(Ok(hostile));
    let (lines, buffer) = draw(&view, 80, 24);
    assert!(lines[5].contains("?[2J?evil?"), "{lines:#?}");
    assert!(buffer.content().iter().all(|cell| !cell.symbol().contains(char::is_control)));
}
