// What tsc must take, and what it must refuse; nothing of it is run.
import type {
  Answers,
  ClientFrame,
  CloseCode,
  Ephemeral,
  ErrorCode,
  Event,
  SendCommand,
  ServerFrame,
  TerminalCode,
} from "./chatmotor-v1";

const hello: ClientFrame = { op: "hello", id: 1, v: 1, token: "cm_x", resume: "device" };
const direct: SendCommand = { op: "send", id: 2, cid: "c1", to: "bob", body: { text: "hi" } };
const grouped: SendCommand = { op: "send", id: "s", cid: "c2", conv: "g.1", raw: "as it is" };
const typing: ClientFrame = { op: "typing", conv: "d.1.2", state: "on" };

// @ts-expect-error: no command of this name
const unknownOp: ClientFrame = { op: "sned", id: 1 };
// @ts-expect-error: a cid is needed
const withoutCid: ClientFrame = { op: "send", id: 1, to: "bob", body: 1 };
// @ts-expect-error: to or conv, not both
const twoPlaces: SendCommand = { op: "send", id: 1, cid: "c", to: "bob", conv: "g.1", body: 1 };
// @ts-expect-error: to or conv, one of them
const noPlace: SendCommand = { op: "send", id: 1, cid: "c", body: 1 };
// @ts-expect-error: body or raw, not both
const twoContents: SendCommand = { op: "send", id: 1, cid: "c", to: "b", body: 1, raw: "x" };
// @ts-expect-error: on or off
const wrongState: ClientFrame = { op: "typing", conv: "d.1.2", state: "maybe" };
// @ts-expect-error: a field that no command has
const extra: ClientFrame = { op: "ping", id: 1, now: true };

function told(frame: ServerFrame): string {
  switch (frame.op) {
    case "welcome":
      return frame.resumed ? frame.session : (frame.reason ?? "");
    case "live":
      return String(frame.seq);
    case "ok":
      return String(frame.id);
    case "error":
      return refused(frame.code, frame.retry_ms);
    case "ev":
      return happened(frame);
    case "eph":
      return passed(frame);
    case "behind":
      return frame.conv;
    case "pong":
      // @ts-expect-error: a pong has no conversation
      return frame.conv;
    case "bye":
      return frame.reason + frame.after_ms.toFixed();
    default:
      return nothing(frame); // every op has been named
  }
}

function happened(event: Event): string {
  switch (event.t) {
    case "message.new":
      // @ts-expect-error: a body is unknown until somebody has looked at it
      const text: string = event.body;
      return event.from + (event.raw ?? text);
    case "conv.new":
      return event.title + event.since.toFixed();
    case "conv.member":
      return event.added.concat(event.removed).join() + (event.owner ?? "");
    case "conv.read":
      return event.n.toFixed();
    case "profile.set":
      return event.display_name;
    case "device.new":
    case "device.gone":
      return event.device;
    default:
      return nothing(event);
  }
}

function passed(what: Ephemeral): string {
  switch (what.t) {
    case "typing":
      return what.from + what.state;
    case "presence":
      return what.users.map((each) => each.user + each.state + (each.text ?? "")).join();
    case "receipt":
      return what.user + Math.max(what.delivered, what.read).toFixed();
    case "signal":
      return what.from + what.device;
    default:
      return nothing(what);
  }
}

function refused(code: ErrorCode, after: number | undefined): string {
  // @ts-expect-error: no code of this name
  return code === "rate_limitd" ? String(after) : code;
}

function nothing(never: never): string {
  return never;
}

declare function ask<Op extends keyof Answers>(op: Op): Promise<Answers[Op]>;

async function answered(): Promise<string> {
  const sent = await ask("send");
  const page = await ask("conv.get");
  const logged = (await ask("events")).events.map(happened);
  // @ts-expect-error: the answer to send has no members
  sent.members;
  // @ts-expect-error: no command of this name
  await ask("conv.got");
  return sent.conv + page.conv.n.toFixed() + (page.members?.length ?? 0) + logged.join();
}

const codes: CloseCode[] = [4001, 4502];
// @ts-expect-error: 4001 says to come back
const terminal: TerminalCode = 4001;

export { answered, codes, direct, extra, grouped, hello, noPlace, terminal, told };
export { twoContents, twoPlaces, typing, unknownOp, withoutCid, wrongState };
