// What every client here shares, as report.py for those in Python.

exports.PROMPT = process.env.STANDIN_PROMPT;
exports.URL = process.env.STANDIN_URL;
exports.MESSAGES = [{ role: "user", content: exports.PROMPT }];

// One JSON line on standard output.
exports.report = (input, output) => console.log(JSON.stringify({ input, output: output ?? null }));

// Ends with 1 where a client fails.
exports.run = (main) =>
  main().catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
