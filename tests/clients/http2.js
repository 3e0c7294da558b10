// http2.js MODEL [GO]: chat completions over one HTTP/2 connection of Node's own client: one, then
// three streams at once. With GO, another one is not read on after its first data until that file
// exists, and the three come after it.

const { existsSync } = require("node:fs");
const http2 = require("node:http2");
const { setTimeout: sleep } = require("node:timers/promises");
const { MESSAGES, URL, report, run } = require("./report.js");

const [model, go] = process.argv.slice(2);

// Sends a request, and returns the usage at the end of the answer, of which no more is read after its
// first data until `pause` lets it.
function call(session, tag, pause = async () => {}) {
  const stream = session.request({
    ":method": "POST",
    ":path": "/v1/chat/completions",
    "content-type": "application/json",
    authorization: `Bearer ${process.env.OPENAI_API_KEY}`,
  });
  const options = { stream: true, stream_options: { include_usage: true } };
  stream.end(JSON.stringify({ model: `${model}${tag}`, messages: MESSAGES, ...options }));
  stream.setEncoding("utf8");
  return new Promise((resolve, reject) => {
    let text = "";
    stream.on("data", (piece) => (text += piece));
    stream.once("data", () => {
      stream.pause();
      pause().then(() => stream.resume());
    });
    stream.on("error", reject);
    stream.on("end", () => {
      const events = text.split("\n").filter((line) => line.startsWith("data: {"));
      resolve(JSON.parse(events.at(-1).slice("data: ".length)).usage);
    });
  });
}

run(async () => {
  const session = http2.connect(URL);
  await call(session, "-tagfirst");
  if (go) {
    // More than a stream's window takes, so that the server cannot have sent it all.
    await call(session, "-size400000-chunks40-tagrunning", async () => {
      console.log("running");
      while (!existsSync(go)) await sleep(20);
    });
  }
  const all = await Promise.all([0, 1, 2].map((number) => call(session, `-tag${number}`)));
  report(all[0].prompt_tokens, all[0].completion_tokens);
  session.close();
});
