//! What recorded calls cost: what the provider states, and beside it what the list of prices says.

use std::collections::BTreeMap;

use llm_tracker::pricing::{Cost, CostSource, Prices};

use crate::{
    feed::{self, Chunking},
    for_all,
};

/// Beginnings of what costs something else than the list says, and why.
const DIFFER: [(&str, &str); 2] = [
    ("perplexity sonar", "each request has a fee"),
    ("x_ai grok-code-fast-1", "it had another price when it was recorded"),
];

/// The cost of a call is what the provider says that it is; and what the list says of its model agrees with
/// that, to within a millionth of a dollar.
#[test]
fn stated_costs_are_the_costs() {
    let prices = Prices::load(None).unwrap();
    let said = for_all(|row| {
        let mut compared = Vec::new();
        for call in feed::calls(row, &Chunking::Whole) {
            let Some(stated) = call.stated_cost_usd() else { continue };
            let Cost::Known { amount, list, source } = prices.cost(&call) else {
                panic!("{}: its cost is stated and not known", row.id);
            };
            assert_eq!(source, CostSource::Provider, "{}", row.id);
            assert!((amount.dollars() - stated).abs() < 1e-11, "{}: {amount} is not {stated}", row.id);
            let model = call.response_model.clone().or(call.model.clone()).unwrap_or_default();
            // Vercel counts Gemini's reasoning beside the output without saying so.
            let contradictory = call.usage.reasoning_tokens > call.usage.output_tokens;
            let list = list.filter(|_| call.server_tool_calls.is_empty() && !contradictory);
            compared.push((format!("{} {model}", call.provider), stated, list.map(|list| list.dollars())));
        }
        compared
    });
    let mut agree = BTreeMap::<String, (u32, u32)>::new();
    let mut stated = 0;
    for (model, cost, list) in said.into_iter().flatten() {
        stated += 1;
        let Some(list) = list else { continue };
        let (same, all) = agree.entry(model).or_default();
        *all += 1;
        *same += u32::from((cost - list).abs() < 1e-6);
    }
    eprintln!("{stated} calls whose provider states their cost; those whose model the list has too:");
    for (model, (same, all)) in &agree {
        let why = DIFFER.iter().find(|(start, _)| model.starts_with(start)).map(|(_, why)| *why);
        eprintln!("{same} of {all} of {model} cost what the list says {}", why.unwrap_or_default());
        assert!(same == all || why.is_some(), "{model}: the list is wrong about {} of {all}", all - same);
    }
}
