// The Chatmotor v1 protocol: every frame of either side.
// Written by `fab docs` from chatmotor/protocol. Edit the structs there, not this file.
// Readers ignore fields that they do not know, and clients also such frames and events.

/** How many `ev` frames have arrived, and up to where the device has them. */
export interface AckCommand {
  op: "ack";
  /** Echoed in the answer. */
  id?: string | number | null;
  /** All that have come on this socket, of the mailbox and of groups. */
  h: number;
  /** The device has its mailbox up to there. */
  seq?: number | null;
}

/** What `ok` adds, by command; over HTTP the whole answer. */
export interface Answers {
  "auth": Renewed;
  "send": Sent;
  "read": Nothing;
  "typing": Nothing;
  "signal": Nothing;
  "presence": Nothing;
  "watch": Snapshot;
  "unwatch": Nothing;
  "sync": Synced;
  "events": EventPage;
  "history": HistoryPage;
  "conv.create": Changed;
  "conv.get": ConversationPage;
  "conv.invite": Changed;
  "conv.remove": Changed;
  "conv.leave": Nothing;
  "hook.create": HookMade;
  "hook.list": HookList;
  "hook.remove": Nothing;
  "device.list": DeviceList;
  "device.revoke": Nothing;
  "user.get": Profile;
  "user.set": Profile;
  "user.find": UsersFound;
}

/** Another token of the same account, before the present one expires. */
export interface AuthCommand {
  op: "auth";
  /** Echoed in the answer. */
  id: string | number;
  /** As a log-in gave it. */
  token: string;
}

/** The answer to `auth`. */
export type AuthOk = OkFrame & Renewed;

/** A group that has moved on; the client pulls what it wants. */
export interface Behind {
  /** The id of a conversation. */
  conv: string;
  /** The last event of its log. */
  pos: number;
  /** Its last message. */
  n: number;
  /** How many messages come after the own read pointer. */
  unread: number;
  /** 0: there is nothing of the kind yet. */
  mentions?: number;
}

/** A group moved on while the session's window was full. */
export interface BehindFrame {
  op: "behind";
  /** The id of a conversation. */
  conv: string;
  /** A place in the log of a group. */
  pos: number;
}

/** The server closes the connection, with this close code. */
export interface ByeFrame {
  op: "bye";
  /** The close code. */
  code: number;
  /** The same for people. */
  reason: string;
  /** Whether to come back. */
  reconnect: boolean;
  /** How long to wait before that. */
  after_ms: number;
}

/** `conv.create`, `conv.invite`, `conv.remove`: the group as it is now. */
export interface Changed {
  conv: ChangedItem;
}

/**
 * A group after a change, with the fields of a conversation; of one that the
 * caller was removed from meanwhile only `conv`.
 */
export interface ChangedItem {
  /** The id of a conversation. */
  conv: string;
  /** When it began: milliseconds since the Unix epoch, UTC. */
  ts?: number;
  type?: "group";
  /** Of the group. */
  title?: string;
  /** In the group. */
  role?: "admin" | "member" | "owner";
  /** How many are in it. */
  members?: number;
  /** The last event of its log. */
  pos?: number;
  /** Its last message; 0: none. */
  n?: number;
  /** The own read pointer. */
  read?: number;
  /** How many messages come after the own read pointer. */
  unread?: number;
  /** 0: there is nothing of the kind yet. */
  mentions?: number;
}

/** A frame of a client: a command. */
export type ClientFrame =
  | HelloCommand
  | AuthCommand
  | AckCommand
  | PingCommand
  | PongCommand
  | PresenceCommand
  | WatchCommand
  | UnwatchCommand
  | SendCommand
  | ReadCommand
  | TypingCommand
  | SignalCommand
  | SyncCommand
  | EventsCommand
  | HistoryCommand
  | ConvCreateCommand
  | ConvGetCommand
  | ConvInviteCommand
  | ConvRemoveCommand
  | ConvLeaveCommand
  | HookCreateCommand
  | HookListCommand
  | HookRemoveCommand
  | DeviceListCommand
  | DeviceRevokeCommand
  | UserGetCommand
  | UserSetCommand
  | UserFindCommand;

/** A new group. */
export interface ConvCreateCommand {
  op: "conv.create";
  /** Echoed in the answer. */
  id: string | number;
  /** The client's own name for this write. */
  cid: string;
  /** Of the group. */
  title?: string;
  /** Beside oneself. */
  members?: Array<string>;
}

/** The answer to `conv.create`. */
export type ConvCreateOk = OkFrame & Changed;

/** One conversation, and a page of its members. */
export interface ConvGetCommand {
  op: "conv.get";
  /** Echoed in the answer. */
  id: string | number;
  /** The id of a conversation. */
  conv: string;
  /** Of the page before. */
  cursor?: string;
  /** Members in a page. */
  limit?: number;
}

/** The answer to `conv.get`. */
export type ConvGetOk = OkFrame & ConversationPage;

/** Add members to a group. */
export interface ConvInviteCommand {
  op: "conv.invite";
  /** Echoed in the answer. */
  id: string | number;
  /** The id of a conversation. */
  conv: string;
  /** Usernames. */
  users: Array<string>;
  /** The client's own name for this write. */
  cid?: string | null;
}

/** The answer to `conv.invite`. */
export type ConvInviteOk = OkFrame & Changed;

/** Leave a group. */
export interface ConvLeaveCommand {
  op: "conv.leave";
  /** Echoed in the answer. */
  id: string | number;
  /** The id of a conversation. */
  conv: string;
  /** The client's own name for this write. */
  cid?: string | null;
}

/** The answer to `conv.leave`. */
export type ConvLeaveOk = OkFrame & Nothing;

/** Who came into a group, and who went. */
export interface ConvMember {
  t: "conv.member";
  /** Milliseconds since the Unix epoch, UTC. */
  ts: number;
  /** A place in the mailbox. */
  seq?: number;
  /** A place in the log of a group. */
  pos?: number;
  /** The id of a conversation. */
  conv: string;
  /** Who did it. */
  actor: string;
  /** Usernames. */
  added: Array<string>;
  /** Usernames. */
  removed: Array<string>;
  /** Who is it now, if the owner has left. */
  owner?: string;
}

/** The account is in a group now. */
export interface ConvNew {
  t: "conv.new";
  /** Milliseconds since the Unix epoch, UTC. */
  ts: number;
  /** A place in the mailbox. */
  seq?: number;
  /** A place in the log of a group. */
  pos?: number;
  /** The id of a conversation. */
  conv: string;
  /** Who did it. */
  actor: string;
  /** Its events after this `pos` are new. */
  since: number;
  /** Of the group. */
  title: string;
}

/** The own read pointer of a conversation moved to `n`. */
export interface ConvRead {
  t: "conv.read";
  /** Milliseconds since the Unix epoch, UTC. */
  ts: number;
  /** A place in the mailbox. */
  seq?: number;
  /** A place in the log of a group. */
  pos?: number;
  /** The id of a conversation. */
  conv: string;
  /** The number of a message in its conversation. */
  n: number;
}

/** Remove members from a group. */
export interface ConvRemoveCommand {
  op: "conv.remove";
  /** Echoed in the answer. */
  id: string | number;
  /** The id of a conversation. */
  conv: string;
  /** Usernames. */
  users: Array<string>;
  /** The client's own name for this write. */
  cid?: string | null;
}

/** The answer to `conv.remove`. */
export type ConvRemoveOk = OkFrame & Changed;

/** A conversation as one of its accounts sees it. */
export interface ConversationItem {
  /** The id of a conversation. */
  conv: string;
  /** When it began: milliseconds since the Unix epoch, UTC. */
  ts: number;
  type: "direct" | "group" | "guest";
  /** Its last message; 0: none. */
  n: number;
  /** The own read pointer. */
  read: number;
  /** How many messages come after the own read pointer. */
  unread: number;
  /** 0: there is nothing of the kind yet. */
  mentions: number;
  /** Of all but groups: the other one's name, or one's own in notes to oneself. */
  user?: string;
  /**
   * Of a group: its title, the own role, how many are in it, and the last event of
   * its log.
   */
  title?: string;
  /**
   * Of a group: its title, the own role, how many are in it, and the last event of
   * its log.
   */
  role?: "admin" | "member" | "owner";
  /**
   * Of a group: its title, the own role, how many are in it, and the last event of
   * its log.
   */
  members?: number;
  /**
   * Of a group: its title, the own role, how many are in it, and the last event of
   * its log.
   */
  pos?: number;
  /** In `sync`: the last message, if there is one. */
  last?: MessageItem;
}

/** `conv.get`; `members` and `cursor` for a group only. */
export interface ConversationPage {
  conv: ConversationItem;
  /** By username. */
  members?: Array<MemberItem>;
  /** For the next page; null on the last. */
  cursor?: string | null;
}

/** A device was logged out. */
export interface DeviceGone {
  t: "device.gone";
  /** Milliseconds since the Unix epoch, UTC. */
  ts: number;
  /** A place in the mailbox. */
  seq?: number;
  /** A place in the log of a group. */
  pos?: number;
  /** The name of a device. */
  device: string;
}

/** One of the account's devices; `ts`: since when, `seen`: the last time. */
export interface DeviceItem {
  /** The name of a device. */
  device: string;
  /** The first log-in. */
  ts: number;
  /** The last log-in or acknowledgment. */
  seen: number;
  /** It asks. */
  current: boolean;
}

/** `device.list`. */
export interface DeviceList {
  devices: Array<DeviceItem>;
}

/** The account's devices. */
export interface DeviceListCommand {
  op: "device.list";
  /** Echoed in the answer. */
  id: string | number;
}

/** The answer to `device.list`. */
export type DeviceListOk = OkFrame & DeviceList;

/** The account has logged in on a new device. */
export interface DeviceNew {
  t: "device.new";
  /** Milliseconds since the Unix epoch, UTC. */
  ts: number;
  /** A place in the mailbox. */
  seq?: number;
  /** A place in the log of a group. */
  pos?: number;
  /** The name of a device. */
  device: string;
}

/** Log a device out, everywhere. */
export interface DeviceRevokeCommand {
  op: "device.revoke";
  /** Echoed in the answer. */
  id: string | number;
  /** The name of a device. */
  device: string;
}

/** The answer to `device.revoke`. */
export type DeviceRevokeOk = OkFrame & Nothing;

/** Something of now, of type `t`; the fields are those of its type. */
export type EphFrame = { op: "eph"; } & Ephemeral;

/** Something of now, of no log. */
export type Ephemeral =
  | TypingNow
  | PresenceNow
  | Receipt
  | SignalNow;

/** What was wrong, for programs. */
export type ErrorCode =
  | "bad_json"
  | "bad_request"
  | "cid_conflict"
  | "conflict"
  | "forbidden"
  | "internal"
  | "method_not_allowed"
  | "no_such_conv"
  | "no_such_device"
  | "no_such_hook"
  | "no_such_user"
  | "not_found"
  | "not_member"
  | "quota_exceeded"
  | "rate_limited"
  | "suspended"
  | "tls_in_process"
  | "token_expired"
  | "too_large"
  | "too_many_devices"
  | "too_many_in_flight"
  | "trimmed"
  | "unauthenticated"
  | "unavailable"
  | "unknown_op"
  | "unsupported_version"
  | "upgrade_required";

/** A command was refused and has changed nothing. */
export interface ErrorFrame {
  op: "error";
  /** Of the command; null: it had none that can be used. */
  id: string | number | null;
  code: ErrorCode;
  /** The same for people. */
  msg: string;
  /** Whether the same command can work later. */
  retry: boolean;
  /** When. */
  retry_ms?: number;
  /** What is wrong, if it is one field. */
  field?: string;
}

/** An event of a log: of the mailbox with `seq`, of a group with `pos`. */
export type EvFrame = { op: "ev"; } & Event;

/** An event of a log, with `seq` in a mailbox or `pos` in a group's. */
export type Event =
  | MessageNew
  | ConvNew
  | ConvMember
  | ConvRead
  | ProfileSet
  | DeviceNew
  | DeviceGone;

/** `events`: in the form of `ev` without `op`. */
export interface EventPage {
  events: Array<Event>;
  /** Whether there is more. */
  more: boolean;
}

/** A log, pulled: the mailbox, or that of a group. */
export interface EventsCommand {
  op: "events";
  /** Echoed in the answer. */
  id: string | number;
  /** A place: what comes after it. */
  since: number;
  /** The log of this group; none: the own mailbox. */
  conv?: string | null;
  /** How many at most. */
  limit?: number;
}

/** The answer to `events`. */
export type EventsOk = OkFrame & EventPage;

/** The first frame of a session. */
export interface HelloCommand {
  op: "hello";
  /** Echoed in the answer. */
  id: string | number;
  /** 1. */
  v: number;
  /** Unless it came on the upgrade. */
  token?: string | null;
  /** Where the client was; "device": what this device has not acknowledged. */
  resume?: "device" | Resume | null;
  /** Events that may be under way to the client; the server may allow fewer. */
  window?: number | null;
}

/** Messages of a conversation: the last ones, or around a number. */
export type HistoryCommand = {
  op: "history";
  /** Echoed in the answer. */
  id: string | number;
  /** The id of a conversation. */
  conv: string;
  /** The last messages below it. */
  before?: number | null;
  /** The first messages above it. */
  after?: number | null;
  /** Half of them below it, the rest from it on. */
  around?: number | null;
  /** How many at most. */
  limit?: number;
};

/** The answer to `history`. */
export type HistoryOk = OkFrame & HistoryPage;

/** `history`: messages by rising `n`; `receipts`: [delivered, read]. */
export interface HistoryPage {
  items: Array<MessageItem>;
  /** Whether there are others in the direction asked for. */
  more: boolean;
  /** Of a direct conversation, by username: delivered, read. */
  receipts: Record<string, [number, number]>;
}

/** A URL through which messages come into a conversation. */
export interface HookCreateCommand {
  op: "hook.create";
  /** Echoed in the answer. */
  id: string | number;
  /** The id of a conversation. */
  conv: string;
  /** What it is for, in visible characters. */
  name: string;
}

/** The answer to `hook.create`. */
export type HookCreateOk = OkFrame & HookMade;

/** An incoming hook of a conversation. */
export interface HookItem {
  /** Its id. */
  hook: string;
  /** The id of a conversation. */
  conv: string;
  /** What a hook is for. */
  name: string;
  /** Who has made it, and writes what comes. */
  user: string;
  /** When it was made. */
  ts: number;
}

/** `hook.list`. */
export interface HookList {
  hooks: Array<HookItem>;
}

/** The incoming hooks of a conversation. */
export interface HookListCommand {
  op: "hook.list";
  /** Echoed in the answer. */
  id: string | number;
  /** The id of a conversation. */
  conv: string;
}

/** The answer to `hook.list`. */
export type HookListOk = OkFrame & HookList;

/** `hook.create`; its URL is told here only. */
export interface HookMade {
  hook: NewHookItem;
}

/** End an incoming hook. */
export interface HookRemoveCommand {
  op: "hook.remove";
  /** Echoed in the answer. */
  id: string | number;
  /** Its id. */
  hook: string;
}

/** The answer to `hook.remove`. */
export type HookRemoveOk = OkFrame & Nothing;

/** The replay is done; what follows is new. */
export interface LiveFrame {
  op: "live";
  /** The last event of the mailbox that was sent. */
  seq: number;
}

/** Somebody who is in a group. */
export interface MemberItem {
  /** A username. */
  user: string;
  /** In the group. */
  role: "admin" | "member" | "owner";
}

/** A message as it is read: its address, its sender, and a body or a raw text. */
export type MessageItem = {
  /** The id of a conversation. */
  conv: string;
  /** The number of a message in its conversation. */
  n: number;
  /** Milliseconds since the Unix epoch, UTC. */
  ts: number;
  /** The sender's username. */
  from: string;
  /** The number of another message of the conversation. */
  reply_to?: number;
  /** For the sender's own devices only. */
  cid?: string;
  /** The sender is a guest, and no account. */
  from_guest?: boolean;
} & ({ body: unknown; raw?: undefined } | { raw: string; body?: undefined });

/** A message. */
export type MessageNew = {
  t: "message.new";
  /** Milliseconds since the Unix epoch, UTC. */
  ts: number;
  /** A place in the mailbox. */
  seq?: number;
  /** A place in the log of a group. */
  pos?: number;
  /** The id of a conversation. */
  conv: string;
  /** The number of a message in its conversation. */
  n: number;
  /** The username, or with `from_guest` a guest's name; on the wire `from`. */
  from: string;
  /** The number of another message of the conversation. */
  reply_to?: number;
  /** For the sender's own devices only. */
  cid?: string;
  /** The sender is a guest, and no account. */
  from_guest?: boolean;
} & ({ body: unknown; raw?: undefined } | { raw: string; body?: undefined });

/** One that was just made. */
export interface NewHookItem {
  /** The id of a hook. */
  hook: string;
  /** The id of a conversation. */
  conv: string;
  /** What a hook is for. */
  name: string;
  /** A username. */
  user: string;
  /** Milliseconds since the Unix epoch, UTC. */
  ts: number;
  /** Whoever has it can write into the conversation. */
  url: string;
}

/** It was done, and there is nothing to say. */
export interface Nothing {
}

/** A command was done; further fields depend on it. */
export interface OkFrame {
  op: "ok";
  /** Echoed in the answer. */
  id: string | number | null;
}

/** Answered by `pong`. */
export interface PingCommand {
  op: "ping";
  /** Echoed in the answer. */
  id?: string | number | null;
}

/** A place in the mailbox, of a history of the store. */
export interface Place {
  /** The name of the store's history. */
  epoch: string;
  /** A place in the mailbox. */
  seq: number;
}

/** Taken as a sign of life. */
export interface PongCommand {
  op: "pong";
  /** Echoed in the answer. */
  id?: string | number | null;
}

/** The answer to `ping`. */
export interface PongFrame {
  op: "pong";
  /** Echoed in the answer. */
  id?: string | number;
}

/** How this session stands; `hidden`: as if it were not there. */
export interface PresenceCommand {
  op: "presence";
  /** Echoed in the answer. */
  id?: string | number | null;
  state: "away" | "dnd" | "hidden" | "online";
  text?: string;
}

/** Those of the watched who stand otherwise than was said last. */
export interface PresenceNow {
  t: "presence";
  users: Array<UserPresence>;
}

/** The answer to `presence`. */
export type PresenceOk = OkFrame & Nothing;

/** `user.get`, `user.set`. */
export interface Profile {
  user: UserItem;
}

/** The own profile changed. */
export interface ProfileSet {
  t: "profile.set";
  /** Milliseconds since the Unix epoch, UTC. */
  ts: number;
  /** A place in the mailbox. */
  seq?: number;
  /** A place in the log of a group. */
  pos?: number;
  /** Empty: none. */
  display_name: string;
}

/** The account has read up to message `n`. */
export interface ReadCommand {
  op: "read";
  /** Echoed in the answer. */
  id?: string | number | null;
  /** The id of a conversation. */
  conv: string;
  /** At most the last message counts. */
  n: number;
}

/** The answer to `read`. */
export type ReadOk = OkFrame & Nothing;

/** How far the other one of a direct conversation is. */
export interface Receipt {
  t: "receipt";
  /** The id of a conversation. */
  conv: string;
  /** A username. */
  user: string;
  /** A device of it has the messages up to this `n`. */
  delivered: number;
  /** It has read up to this `n`. */
  read: number;
}

/** `auth`: until when the session may go on. */
export interface Renewed {
  /** When the token ends: milliseconds since the Unix epoch, UTC. */
  expires: number;
}

/** Where a client was: of which epoch, in its mailbox, and in each group. */
export interface Resume {
  /** The name of the store's history. */
  epoch: string;
  /** Counts as acknowledged. */
  seq: number;
  /** By conv: up to which `pos` the client has the group. */
  groups?: Record<string, number>;
}

/** A message: for an account or a conversation, with a body or a raw text. */
export type SendCommand = {
  op: "send";
  /** Echoed in the answer. */
  id: string | number;
  /** The client's own name for this write. */
  cid: string;
  /** The number of another message of the conversation; not checked. */
  reply_to?: number | null;
} & ({ to: string; conv?: undefined } | { conv: string; to?: undefined }) & ({ body: unknown; raw?: undefined } | { raw: string; body?: undefined });

/** The answer to `send`. */
export type SendOk = OkFrame & Sent;

/** `send`: committed, and where it is. `seq` for a direct message only. */
export interface Sent {
  /** The id of a conversation. */
  conv: string;
  /** The number of a message in its conversation. */
  n: number;
  /** Milliseconds since the Unix epoch, UTC. */
  ts: number;
  /** It was there already. */
  dup: boolean;
  /** Of a direct message: its place in the own mailbox. */
  seq?: number;
}

/** A frame of the server; what an `ok` adds depends on the command. */
export type ServerFrame =
  | WelcomeFrame
  | LiveFrame
  | OkFrame
  | ErrorFrame
  | EvFrame
  | BehindFrame
  | EphFrame
  | PongFrame
  | ByeFrame;

/** A body for the devices of an account that are online now; not stored. */
export interface SignalCommand {
  op: "signal";
  /** Echoed in the answer. */
  id?: string | number | null;
  /** A username, in any spelling. */
  to: string;
  /** Any JSON value. */
  body: unknown;
}

/** A `signal` of a device of the account `from`. */
export interface SignalNow {
  t: "signal";
  /** The sender's username. */
  from: string;
  /** The name of a device. */
  device: string;
  /** Any JSON value. */
  body: unknown;
}

/** The answer to `signal`. */
export type SignalOk = OkFrame & Nothing;

/** `watch`: how those who are watched now stand. */
export interface Snapshot {
  snapshot: Array<UserPresence>;
}

/** A snapshot of the account, in pages. */
export interface SyncCommand {
  op: "sync";
  /** Echoed in the answer. */
  id: string | number;
  /** Of the page before. */
  cursor?: string | null;
  /** Conversations in a page. */
  limit?: number;
}

/** The answer to `sync`. */
export type SyncOk = OkFrame & Synced;

/** `sync`: a page of a snapshot that stands at `at`. */
export interface Synced {
  at: Place;
  convs: Array<ConversationItem>;
  /** Empty; for what does not exist yet. */
  contacts: Array<unknown>;
  /** Empty, too. */
  blocks: Array<unknown>;
  /** For the next page; null on the last. */
  cursor: string | null;
}

/** Somebody writes, or has stopped; forgotten after a few seconds. */
export interface TypingCommand {
  op: "typing";
  /** Echoed in the answer. */
  id?: string | number | null;
  /** The id of a conversation. */
  conv: string;
  state: "off" | "on";
}

/** `from` writes in a conversation, or has stopped. */
export interface TypingNow {
  t: "typing";
  /** The id of a conversation. */
  conv: string;
  /** The sender's username. */
  from: string;
  state: "off" | "on";
}

/** The answer to `typing`. */
export type TypingOk = OkFrame & Nothing;

/** Not of these any more. */
export interface UnwatchCommand {
  op: "unwatch";
  /** Echoed in the answer. */
  id: string | number;
  /** Usernames. */
  users: Array<string>;
}

/** The answer to `unwatch`. */
export type UnwatchOk = OkFrame & Nothing;

/** The account with exactly this name, if there is one. */
export interface UserFindCommand {
  op: "user.find";
  /** Echoed in the answer. */
  id: string | number;
  /** A whole username, in any spelling. */
  q: string;
}

/** The answer to `user.find`. */
export type UserFindOk = OkFrame & UsersFound;

/** One account's profile. */
export interface UserGetCommand {
  op: "user.get";
  /** Echoed in the answer. */
  id: string | number;
  /** A username. */
  user: string;
}

/** The answer to `user.get`. */
export type UserGetOk = OkFrame & Profile;

/** An account as everybody sees it. */
export interface UserItem {
  username: string;
  /** Without one, the username. */
  display_name: string;
}

/** How an account stands; the best of all its sessions. */
export interface UserPresence {
  /** A username. */
  user: string;
  state: "away" | "dnd" | "offline" | "online";
  text?: string;
}

/** The own profile. */
export interface UserSetCommand {
  op: "user.set";
  /** Echoed in the answer. */
  id: string | number;
  /** Visible characters; empty: none. */
  display_name: string;
}

/** The answer to `user.set`. */
export type UserSetOk = OkFrame & Profile;

/** `user.find`: nobody, or one. */
export interface UsersFound {
  users: Array<UserItem>;
}

/** Be told how these accounts stand, from now on. */
export interface WatchCommand {
  op: "watch";
  /** Echoed in the answer. */
  id: string | number;
  /** Usernames. */
  users: Array<string>;
}

/** The answer to `watch`. */
export type WatchOk = OkFrame & Snapshot;

/** The answer to `hello`: who one is, and what follows. */
export interface WelcomeFrame {
  op: "welcome";
  /** Echoed in the answer. */
  id: string | number;
  /** 1. */
  v: number;
  /** A username. */
  user: string;
  /** As it was named at log-in. */
  device: string;
  /** A name for this connection, for logs. */
  session: string;
  /** The name of the store's history. */
  epoch: string;
  /** The last event of the mailbox. */
  seq: number;
  /** Whether the session goes on where the client was. */
  resumed: boolean;
  /** Why not: first, epoch or trimmed; else null. */
  reason: string | null;
  /** How many events of the mailbox follow before `live`. */
  replay: number;
  /** Groups that have moved on. */
  behind: Array<Behind>;
  /** Milliseconds of silence after which a WebSocket ping is sent. */
  heartbeat: number;
  /** Events that may be under way to the client. */
  window: number;
  /** What this server allows, by name. */
  limits: Record<string, number>;
  /** What it has beyond sending. */
  features: Array<string>;
  /** Its clock: milliseconds since the Unix epoch, UTC. */
  time: number;
  /** When the token ends: milliseconds since the Unix epoch, UTC. */
  expires: number;
  /** Its version. */
  build: string;
}

/** Close codes after which to connect again. */
export type ReconnectCode =
  /** A defect of Chatmotor. */
  | 4000
  /** This node shuts down. */
  | 4001
  /** The window was full, or the socket not read, for too long. */
  | 4002
  /** Too many connections of the account. */
  | 4003
  /** No answer to a ping. */
  | 4004
  /** The next events are no longer kept, or could not be read. */
  | 4005
  /** The store is away, or did not say whether it wrote. */
  | 4006
  /** The token has expired. */
  | 4010;

/** Close codes after which to stay away. */
export type TerminalCode =
  /** Nothing but refusals before hello, or a hello that cannot be served. */
  | 4500
  /** No hello in time. */
  | 4501
  /** The token is unknown or was revoked, or its device was logged out. */
  | 4502
  /** The account is deactivated. */
  | 4504
  /** The version is not spoken here. */
  | 4505;

export type CloseCode = ReconnectCode | TerminalCode;
