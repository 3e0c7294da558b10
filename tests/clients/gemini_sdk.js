// gemini_sdk.js OPERATION MODEL: one call with Google's SDK.

const { GoogleGenAI } = require("@google/genai");
const { PROMPT, report, run } = require("./report.js");

const [operation, model] = process.argv.slice(2);
const request = { model, contents: PROMPT };

run(async () => {
  const baseUrl = process.env.GOOGLE_GEMINI_BASE_URL;
  const { models } = new GoogleGenAI({ apiKey: process.env.GEMINI_API_KEY, httpOptions: { baseUrl } });
  let usage;
  if (operation === "generate-stream") {
    for await (const item of await models.generateContentStream(request)) usage = item.usageMetadata;
  } else {
    usage = (await models.generateContent(request)).usageMetadata;
  }
  report(usage.promptTokenCount, usage.candidatesTokenCount + (usage.thoughtsTokenCount ?? 0));
});
