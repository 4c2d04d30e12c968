// Reads an AsyncAPI document with the reference implementation; prints what it found.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(
  readFileSync(process.argv[2], "utf8"),
);
const operations = document?.operations().all() ?? [];
console.log(
  JSON.stringify({
    problems: diagnostics
      .filter((each) => each.code !== "asyncapi-latest-version")
      .map((each) => `${each.path.join(".")}: ${each.message}`),
    channels: (document?.channels().all() ?? []).map((each) => each.address()),
    received: operations.filter((each) => each.isReceive()).map((each) => each.id()),
    sent: operations.filter((each) => each.isSend()).map((each) => each.id()),
    replies: Object.fromEntries(
      operations
        .filter((each) => each.reply())
        .map((each) => [each.id(), each.reply().messages().all().map((m) => m.name())]),
    ),
  }),
);
