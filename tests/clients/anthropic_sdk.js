// anthropic_sdk.js OPERATION MODEL: one call with Anthropic's SDK.

const Anthropic = require("@anthropic-ai/sdk");
const { MESSAGES, report, run } = require("./report.js");

const [operation, model] = process.argv.slice(2);
const request = { model, max_tokens: 64, messages: MESSAGES };

run(async () => {
  const { messages } = new Anthropic({ maxRetries: 0 });
  const stream = operation === "messages-stream";
  const { usage } = await (stream ? messages.stream(request).finalMessage() : messages.create(request));
  const cached = usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
  report(usage.input_tokens + cached, usage.output_tokens);
});
