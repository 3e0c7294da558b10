// openai_sdk.js OPERATION MODEL [http2]: one call with OpenAI's SDK; over HTTP/2 with undici's fetch.

const OpenAI = require("openai");
const { MESSAGES, PROMPT, report, run } = require("./report.js");

const [operation, model, http2] = process.argv.slice(2);
const stream = operation.endsWith("-stream");

function options() {
  if (http2 !== "http2") return { maxRetries: 0 };
  const undici = require("undici");
  const dispatcher = new undici.Agent({ allowH2: true, connections: 1 });
  return { maxRetries: 0, fetch: undici.fetch, fetchOptions: { dispatcher } };
}

function start(client) {
  const streaming = stream ? { stream: true, stream_options: { include_usage: true } } : {};
  switch (operation.replace("-stream", "")) {
    case "chat":
      return client.chat.completions.create({ model, messages: MESSAGES, ...streaming });
    case "responses":
      return client.responses.create({ model, input: PROMPT, stream });
    case "embeddings":
      return client.embeddings.create({ model, input: PROMPT });
    default:
      throw new Error(`no operation ${operation}`);
  }
}

run(async () => {
  const answer = await start(new OpenAI(options()));
  let usage;
  for await (const item of stream ? answer : [answer]) usage = item.usage ?? item.response?.usage ?? usage;
  report(usage.input_tokens ?? usage.prompt_tokens, usage.output_tokens ?? usage.completion_tokens);
});
