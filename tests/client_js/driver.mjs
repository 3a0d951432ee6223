// Carries out what a test says, as a page would: one JSON line in, one out.
//
//   node driver.mjs <client.mjs>
//
// {"id", "body", "given"} → {"id", "value"} or {"id", "error"}. body: of an async function that has the
// client's module as `library`, what it was given, `kept`, which stays from one to the next, and `until`.
import { createInterface } from "node:readline";

const library = await import(process.argv[2]);
const kept = {};
const AsyncFunction = (async () => {}).constructor;
const say = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);

/** The detail of the next event of a type that is as wanted. */
const until = (target, type, isWanted = () => true) =>
  new Promise((resolve) => {
    target.addEventListener(type, function hear({ detail }) {
      if (!isWanted(detail)) return;
      target.removeEventListener(type, hear);
      resolve(detail);
    });
  });

async function carryOut({ id, body, given }) {
  try {
    const script = new AsyncFunction("library", "given", "kept", "until", body);
    say({ id, value: (await script(library, given, kept, until)) ?? null });
  } catch (error) {
    say({ id, error: { ...error, message: error.message, stack: error.stack } });
  }
}

for await (const line of createInterface({ input: process.stdin })) carryOut(JSON.parse(line));
process.exit(0);
