//! The tool that an answer calls: the one of the tests, or the shell of the agent that asks.

use serde_json::{Map, Value, json};

use super::{Asked, TOOL};
use crate::scenario::Scenario;

/// The id of every call. A request that names it has the call behind it, and its result as well.
pub(super) const CALL: &str = "call_standin";

/// What a shell is told to do: nothing that is not undone by forgetting it.
const COMMAND: &str = "printf shell-marker-%x 66";

/// What it then prints. It stands in no request but in that which brings the result.
const PRINTED: &str = "shell-marker-42";

/// What shells call the parameter that takes the command.
const COMMANDS: [&str; 2] = ["command", "cmd"];

/// A call of a tool.
#[derive(Clone, Debug)]
pub(super) struct ToolCall {
    pub(super) name: String,
    pub(super) arguments: Value,
}

impl ToolCall {
    /// The arguments in two pieces, as they come in a stream.
    pub(super) fn pieces(&self) -> [String; 2] {
        let text = self.arguments.to_string();
        let (first, second) = text.split_at(text.len() / 2);
        [first, second].map(String::from)
    }
}

/// The shell among the tools that a request offers, and what has come of it so far.
#[derive(Clone, Debug)]
pub(super) struct Shell {
    call: ToolCall,
    /// The request has the call behind it, whatever came of it.
    called: bool,
    /// The client has run it.
    pub(super) printed: bool,
}

impl Shell {
    /// The first of a request's tools that takes a command.
    pub(super) fn of(request: &Value) -> Option<Self> {
        let tools = request["tools"].as_array()?.iter();
        let mut functions = tools.flat_map(|tool| match tool["functionDeclarations"].as_array() {
            Some(functions) => functions.as_slice(), // Gemini's
            None if tool["function"].is_object() => std::slice::from_ref(&tool["function"]),
            None => std::slice::from_ref(tool),
        });
        let call = functions.find_map(|function| {
            let mut schemas = ["parameters", "input_schema", "parametersJsonSchema"].into_iter();
            let arguments = arguments(schemas.find_map(|key| function.get(key))?)?;
            Some(ToolCall { name: function["name"].as_str()?.to_owned(), arguments })
        })?;
        let text = request.to_string();
        Some(Self { call, called: text.contains(CALL), printed: text.contains(PRINTED) })
    }
}

/// Arguments for a tool with this JSON schema, if it is one that takes a command.
fn arguments(schema: &Value) -> Option<Value> {
    let properties = schema["properties"].as_object()?;
    let command = COMMANDS.into_iter().find(|name| properties.contains_key(*name))?;
    let mut arguments = Map::new();
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        arguments.insert(name.to_owned(), filler(&properties.get(name)?["type"])?);
    }
    let is_list = properties[command]["type"] == "array";
    let words = if is_list { json!(["/bin/sh", "-c", COMMAND]) } else { json!(COMMAND) };
    arguments.insert(command.to_owned(), words);
    Some(Value::Object(arguments))
}

/// A value of a type, for a parameter that has to be there and does not matter.
fn filler(kind: &Value) -> Option<Value> {
    match kind.as_str()? {
        "string" => Some(json!("prints a word")),
        "boolean" => Some(json!(false)),
        "number" | "integer" => Some(json!(30)),
        "array" => Some(json!([])),
        _ => None,
    }
}

impl Asked {
    /// The tool that the answer calls.
    pub(super) fn tool(&self, scenario: &Scenario) -> Option<ToolCall> {
        if scenario.tool {
            return Some(ToolCall { name: TOOL.to_owned(), arguments: json!({"city": "Paris"}) });
        }
        let shell = self.shell.as_ref().filter(|shell| scenario.shell && !shell.called);
        shell.map(|shell| shell.call.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(tools: &Value) -> Option<(String, Value)> {
        Shell::of(&json!({ "tools": tools })).map(|Shell { call, .. }| (call.name, call.arguments))
    }

    #[test]
    fn the_shell_is_told_from_the_other_tools_in_every_dialect() {
        let reader = json!({"properties": {"path": {"type": "string"}}, "required": ["path"]});
        let shell = json!({
            "properties": {"command": {"type": "string"}, "why": {"type": "string"}, "slow": {"type": "boolean"}},
            "required": ["command", "why"],
        });
        let dialects = [
            json!([{"function": {"name": "read", "parameters": reader}},
                   {"function": {"name": "sh", "parameters": shell}}]),
            json!([{"type": "web_search"}, {"name": "read", "parameters": reader},
                   {"name": "sh", "parameters": shell}]),
            json!([{"name": "read", "input_schema": reader}, {"name": "sh", "input_schema": shell}]),
            json!([{"functionDeclarations": [{"name": "read", "parametersJsonSchema": reader},
                                             {"name": "sh", "parametersJsonSchema": shell}]}]),
        ];
        for tools in dialects {
            let (name, arguments) = called(&tools).unwrap();
            assert_eq!(name, "sh");
            assert_eq!(arguments, json!({"command": COMMAND, "why": "prints a word"}));
        }
        assert_eq!(called(&json!([{"name": "read", "input_schema": reader}])), None);
        assert_eq!(called(&Value::Null), None);
    }

    #[test]
    fn a_command_may_be_a_list() {
        let schema = json!({"properties": {"command": {"type": "array"}}, "required": ["command"]});
        let (_, arguments) = called(&json!([{"name": "shell", "parameters": schema}])).unwrap();
        assert_eq!(arguments, json!({"command": ["/bin/sh", "-c", COMMAND]}));
    }

    #[test]
    fn a_shell_is_called_once() {
        let schema = json!({"properties": {"cmd": {"type": "string"}}});
        let tools = json!([{"name": "sh", "input_schema": schema}]);
        let said = |messages: Value| {
            let shell = Shell::of(&json!({"tools": tools, "messages": messages})).unwrap();
            (shell.called, shell.printed)
        };
        let call = json!({"id": CALL, "input": {"cmd": COMMAND}});
        let result = json!({"tool_use_id": CALL, "content": format!("{PRINTED}\n")});
        assert_eq!(said(json!([])), (false, false));
        assert_eq!(said(json!([call])), (true, false));
        assert_eq!(said(json!([call, result])), (true, true));
    }
}
