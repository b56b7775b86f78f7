// Answers, line by line, what the package `@octokit/webhooks-methods` thinks of deliveries. The same
// questions as oracle.py's, for GitHub's scheme.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { sign, verify } = await import(pathToFileURL(process.argv[2]).href);

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  const body = Buffer.from(question.body, "base64").toString("utf8");
  let answer;
  if (question.sign) {
    answer = await sign(question.secret, body);
  } else {
    const signature = question.headers["x-hub-signature-256"] ?? "";
    answer = await verify(question.secret, body, signature).catch(() => false);
  }
  console.log(JSON.stringify(answer));
}
