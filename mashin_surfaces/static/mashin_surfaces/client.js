// The browser client, as one module that needs no other: a connection each to a machine, a panel, a
// run or an incubator, opened again when it was lost, and resumed where it was. What it offers stands
// in client.d.ts and docs/browser.md; what frames mean, in the pages of the dialects.
//
// keepConnected ── a socket's life: attempts, silence, tokens, the reason of a refusal
// Client ───────── what was sent and is not answered; of it MachineClient, PanelClient, RunClient and
//               IncubatorClient, each with what its dialect says, and what the log makes of it

const MOST_WAIT = 30; // seconds between two attempts
const MOST_WAITING = 32; // messages
const MOST_BUFFERED = 2 ** 20; // bytes that the browser has not sent yet
const LONGEST_TIMER = 2 ** 31 - 1; // milliseconds
const REPEATABLE = 9 * 60_000; // ... for which the server knows a requestId or a callId, and a bit less

const OPEN = 1; // a websocket's readyState

const { assign } = Object;
const SESSION = Math.random().toString(36).slice(2); // no other page has the same ids
let lastId = 0;
const newId = () => `${SESSION}-${(lastId += 1)}`;

export class Refusal extends Error {
  name = "Refusal";

  /** told: an error as any dialect spells it. */
  constructor(told) {
    super(told.message);
    const { retryAfter = told.retry_after, requestId = told.request_id } = told;
    assign(this, told, { requestId, retryAfter: retryAfter && +retryAfter });
  }
}

const refusalOf = (code, message) => new Refusal({ code, message });
const tooMuch = () => refusalOf("busy", "Too many messages wait: send fewer.");
const CUT_OFF = "The connection broke before the answer: it may have been carried out.";

class Target extends EventTarget {
  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// -- a socket's life -----------------------------------------------------------------------------

/**
 * A connection, as client.d.ts has it. client: who speaks over it. { protocol, address(): what stands
 * behind the "?", begin(): there is a socket, hear(frame), cut(refusal, if no other socket follows),
 * isNeeded(), ping(), renew(token): a promise; missing where a new token takes a new socket }
 */
function keepConnected(path, options, client) {
  const { heartbeat = 25, parse = JSON.parse, token: given, query } = options;
  const canRenew = typeof given === "function";
  const connection = new Target();
  let socket, renewal, listening, token, isProbing;
  let timer; // to the next attempt; of an open socket, until it was silent for too long
  let attempt = 0; // of all
  let attempts = 0; // in vain
  let last; // frame that came: it may say why the socket ends
  let spent; // a token that is good no more

  function address() {
    const url = new URL(path, globalThis.location?.href);
    url.protocol = url.protocol.replace("http", "ws");
    for (const [name, value] of Object.entries({ ...query, ...client.address() })) {
      if (value != null) url.searchParams.set(name, value);
    }
    return url.href;
  }

  function become(state, reason = null, retryIn = null) {
    const status = { state, reason, retryIn };
    assign(connection, status);
    connection.tell("state", status);
  }

  function wait(seconds, then) {
    clearTimeout(timer);
    timer = setTimeout(then, seconds * 1000);
  }

  // -- attempts ----------------------------------------------------------------------------------

  const askToken = async () => (canRenew ? given() : given);

  async function open() {
    drop();
    const own = (attempt += 1);
    become("connecting", connection.reason);
    try {
      const fresh = await askToken();
      if (own !== attempt) return;
      if (fresh && fresh === spent) return end("refused", connection.reason);
      token = fresh;
      serve(new WebSocket(address(), [client.protocol, ...(token ? [`bearer.${token}`] : [])]));
    } catch (error) {
      if (own === attempt) retry(refusalOf("unauthenticated", `No token: ${error}`));
    }
  }

  function serve(made) {
    let wasOpen = false;
    last = null;
    socket = assign(made, {
      onopen() {
        wasOpen = true;
        planRenewal();
        hearken();
        begin();
      },
      onmessage({ data }) {
        attempts = 0; // not at onopen: a server may accept and close again
        hearken();
        if (connection.state !== "open") begin(); // there was a network all the time
        last = parse(data);
        client.hear(last);
      },
      onclose: (event) => closed(event, wasOpen),
      onerror: () => wasOpen || closed({}), // in Node 20 no close follows
    });
  }

  function begin() {
    become("open");
    client.begin();
  }

  function closed({ code, reason }, wasOpen) {
    const told = code > 4000 && (last?.error ?? (/^error$/i.test(last?.type) && last));
    const message = reason || "The connection broke.";
    const why = told ? new Refusal(told) : refusalOf("lost", message);
    const isNeeded = code !== 4408 || client.isNeeded();
    const own = attempt;
    drop();
    if (code === 1000) return end("closed", why);
    if (code === 4401 && canRenew) spent = token;
    else if (/^44(?!08|29)/.test(code)) return end("refused", why);
    client.cut();
    if (!isNeeded) return become("idle");
    retry(why);
    if (!wasOpen && own === attempt) learn(own); // else whoever was told has ended it
  }

  function retry(reason, least = 0) {
    if (globalThis.navigator?.onLine === false) return beOffline();
    const seconds = Math.max(least, Math.random() * Math.min(MOST_WAIT, 2 ** attempts++));
    wait(seconds, open);
    become("waiting", reason, seconds);
  }

  const beOffline = () => become("waiting", refusalOf("offline", "There is no network."));

  // A browser hides why an upgrade was refused; a plain GET of the same address tells.
  async function learn(own) {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const url = address().replace("ws", "http");
    const answer = await fetch(url, { headers, cache: "no-store" }).catch(() => {});
    const told = await answer?.json().catch(() => {});
    if (!answer || own !== attempt) return;
    const { status } = answer;
    if (status < 400 || status === 426) return;
    const message = `The server answered ${status}.`;
    const reason = new Refusal({ code: "refused", message, ...told?.error, status });
    if (/^4(?!08|29)/.test(status)) end("refused", reason);
    else retry(reason, reason.retryAfter);
  }

  function end(state, reason) {
    attempt += 1;
    listening.abort();
    drop();
    if (connection.state === "closed") return;
    become(state, reason);
    client.cut(reason);
  }

  /** Have nothing more to do with the socket. */
  function drop() {
    clearTimeout(timer);
    clearTimeout(renewal);
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
    socket.close();
    socket = null;
  }

  // -- silence, and what the browser knows -------------------------------------------------------

  function hearken() {
    isProbing = false;
    wait(heartbeat, () => (client.isNeeded() ? probe() : hearken()));
  }

  function probe() {
    isProbing = true;
    client.ping();
    wait(heartbeat / 3, () => closed({ reason: "The server was silent." }, true));
  }

  function look({ type }) {
    if (type === "offline") {
      socket || clearTimeout(timer); // one that is there may yet live
      beOffline();
    } else if (type === "online" || !document.hidden) {
      if (socket?.readyState === OPEN) isProbing || probe();
      else if (connection.state === "waiting") connection.reconnect();
    }
  }

  // -- tokens ------------------------------------------------------------------------------------

  /** When four fifths of a JWT's time are over, another one is asked for. */
  function planRenewal() {
    const claims = token?.split(".")[1]?.replaceAll("-", "+").replaceAll("_", "/");
    if (!claims || !canRenew) return;
    const left = JSON.parse(atob(claims)).exp * 1000 - Date.now();
    if (left > 1000) renewal = setTimeout(renew, Math.min(left * 0.8, LONGEST_TIMER));
  }

  async function renew() {
    const own = socket;
    const fresh = await askToken().catch(() => {});
    if (own !== socket) return;
    if (fresh && fresh !== token) {
      token = fresh;
      if (!client.renew) return connection.reconnect();
      client.renew(token).catch(() => own === socket && connection.reconnect());
    }
    planRenewal();
  }

  assign(connection, {
    reconnect() {
      attempts = 0;
      spent = null;
      if (socket) client.cut();
      listening?.abort();
      listening = new AbortController();
      for (const type of ["online", "offline", "visibilitychange"]) {
        globalThis.addEventListener?.(type, look, listening);
      }
      open();
    },
    close: () => end("closed", refusalOf("closed", "The connection was closed.")),
    /** Whether a frame is on its way, and not too much waits already; undefined: the next socket may
     * take it. */
    send(text) {
      if (socket?.readyState !== OPEN) return undefined;
      const isGood = socket.bufferedAmount < MOST_BUFFERED;
      if (isGood) socket.send(text);
      return isGood;
    },
  });
  connection.reconnect();
  return connection;
}

// -- what was sent and is not answered -----------------------------------------------------------

class Client extends Target {
  protocol = "mashin";
  key = "requestId"; // the field of messages that comes back in their answers
  pingType = "ping";
  offset = null;
  epoch = null;
  pending = new Map();
  #pongs = []; // what each pong to come answers: a request's id, or null

  constructor(path, options = {}) {
    super();
    this.options = { ...options };
    this.connection = keepConnected(path, options, this); // asks nothing of us before we are made
  }

  close() {
    this.connection.close();
  }

  address() {
    const { since, epoch } = this.epoch ? { since: this.offset, epoch: this.epoch } : this.options;
    return { since, epoch };
  }

  isNeeded() {
    return true;
  }

  /**
   * A promise of the answer to a message, which write(id) gives as text. Options: id; isSafe:
   * with the same id it is carried out once, so it is sent again after a reconnection; isSilent: only
   * a refusal is told; each: is told of answers that are not the last.
   */
  async request(write, { id = newId(), ...options } = {}) {
    const asked = this.pending.get(id); // just the same
    if (asked) return asked.answer;
    const { state, reason, reconnect } = this.connection;
    const waiting = [...this.pending.values()].filter((one) => !one.isSent);
    if (state === "closed" || state === "refused") throw reason;
    if (waiting.length >= (this.options.maxWaiting ?? MOST_WAITING)) throw tooMuch();
    const one = { ...options, text: write(id), since: Date.now() };
    one.answer = new Promise((resolve, reject) => assign(one, { resolve, reject }));
    this.pending.set(id, one);
    if (state === "open") this.#send(one, id);
    else if (state === "idle") reconnect();
    return one.answer;
  }

  command(type, fields, { key = this.key, ...options } = {}) {
    return this.request((id) => JSON.stringify({ type, ...fields, [key]: id }), options);
  }

  renew(token, key) {
    return this.command("authenticate", { token }, { key });
  }

  #send(one, id) {
    one.isSent = this.connection.send(one.text);
    if (one.isSent === false) this.refuse(id, tooMuch());
    else if (one.isSent && one.isSilent) this.ping(id);
  }

  /** What means nothing to another socket; whether it is on its way. */
  say(message) {
    return this.connection.send(JSON.stringify(message));
  }

  /** An answer after which others come; whether somebody wants them. */
  goOn(id, answer) {
    const one = this.pending.get(id);
    if (!one?.each) return false;
    one.latest = answer;
    one.each(answer);
    return true;
  }

  settle(id, answer) {
    const one = this.pending.get(id);
    this.pending.delete(id);
    one?.resolve(answer === undefined ? one.latest : answer);
  }

  /** What answers nothing is an event. */
  refuse(id, refusal) {
    this.pending.get(id)?.reject(refusal);
    if (!this.pending.delete(id)) this.tell("error", refusal);
  }

  /** id: of a request that is done, unless it was refused, when the pong comes. */
  ping(id) {
    this.#pongs.push(id);
    this.say({ type: this.pingType });
  }

  begin() {
    this.pending.forEach((one, id) => one.isSent || this.#send(one, id));
  }

  cut(reason) {
    this.#pongs = [];
    this.pending.forEach((one, id) => {
      const isGood = !one.isSent || (one.isSafe && Date.now() - one.since < REPEATABLE);
      if (reason || !isGood) this.refuse(id, one.isSent ? refusalOf("lost", CUT_OFF) : reason);
      else one.isSent = false;
    });
  }

  hear({ type, ...told }) {
    const id = told.requestId ?? told.callId ?? told.ref;
    const word = type.toLowerCase();
    if (word === "pong") this.settle(this.#pongs.shift());
    else if (word === "error" && told.offset === undefined) this.refuse(id, new Refusal(told));
    else this.take(word, told, id);
  }

  /** Go to where an entry of the log stands; whether it was there already. */
  isOld(offset) {
    const isOld = !(offset > this.offset); // what has no offset is in no log
    if (!isOld) this.offset = offset;
    return isOld;
  }

  enter(type, told) {
    this.tell("entry", { type, ...told });
    this.change(type, told);
  }

  change(type, told) {
    this.tell(type, told);
    this.tell("change");
  }
}

// -- machines ------------------------------------------------------------------------------------

class MachineClient extends Client {
  protocol = "mashin.v1";
  key = "id";
  #topics = new Map();

  address() {
    return {};
  }

  isNeeded() {
    return this.pending.size > 0 || [...this.#topics.values()].some((one) => one.id);
  }

  ask(input, each) {
    const text = typeof input === "string" ? input : JSON.stringify(input);
    return this.request((id) => `{"id":"${id}","input":${text}}`, { each });
  }

  subscribe(topic, position) {
    this.#topics.get(topic)?.close();
    const leave = () => this.#topics.get(topic) === followed && this.#topics.delete(topic);
    const followed = follow(topic, position, (message) => this.say(message), leave);
    this.#topics.set(topic, followed);
    const { state, reconnect } = this.connection;
    if (state === "open") followed.ask();
    else if (state === "idle") reconnect();
    return followed;
  }

  begin() {
    this.#topics.forEach((one) => one.id || one.ask());
    super.begin();
  }

  cut(reason) {
    this.#topics.forEach((one) => one.lose(reason));
    super.cut(reason);
  }

  ping() {
    this.say({ id: newId(), type: "ping" });
  }

  hear(frame) {
    const { id, error, topic, result } = frame;
    const refusal = error && new Refusal(error);
    const asked = id && [...this.#topics.values()].find((one) => one.id === id);
    if (topic !== undefined) this.#topics.get(topic)?.hear(frame);
    else if (asked) refusal ? asked.lose(refusal) : asked.begin(frame);
    else if (refusal) {
      if (id === null && error.code === "forbidden") this.#topics.forEach((one) => one.lose(refusal));
      this.refuse(id, refusal);
    } else if (result === undefined || !this.goOn(id, result)) this.settle(id, result);
  }
}

/** What of a topic comes over one socket after the other. ask(), lose(refusal, if it is the server's),
 * begin(frame) and hear(frame) are for the client. */
function follow(topic, { since = null, epoch } = {}, say, leave) {
  let retry;
  return assign(new Target(), {
    topic,
    epoch,
    offset: since,
    isFollowing: false,
    id: null, // of the message that asks for it on this socket
    close() {
      if (this.id) say({ id: newId(), unsubscribe: topic });
      leave();
      this.lose();
    },
    ask() {
      clearTimeout(retry);
      const { offset, epoch } = this;
      this.id = newId();
      say({ id: this.id, subscribe: topic, ...(offset !== null && { since: offset, epoch }) });
    },
    lose(refusal) {
      clearTimeout(retry);
      assign(this, { id: null, isFollowing: false });
      if (!refusal) return;
      const wait = refusal.retryAfter * 1000 * (1 + Math.random());
      if (wait > 0) retry = setTimeout(() => this.ask(), wait);
      this.tell("refused", refusal);
    },
    begin({ offset, epoch, recovered }) {
      assign(this, { epoch, isFollowing: true });
      if (!recovered) this.offset = +offset;
      this.tell("subscribed", { offset: this.offset, epoch, recovered });
    },
    hear({ push: value, reset, offset: at = null, epoch = this.epoch }) {
      const offset = at && +at; // null: of what is not kept
      if (!this.isFollowing || (offset !== null && offset <= this.offset && !reset)) return;
      assign(this, { offset: offset ?? this.offset, epoch });
      this.tell(reset ? "reset" : "push", { value, offset, epoch });
    },
  });
}

// -- panels --------------------------------------------------------------------------------------

class PanelClient extends Client {
  pingType = "PING";
  renew = null; // a new token takes a new socket
  panelId = null;
  state = {};
  status = null;
  tools = [];

  trigger(tool, args, { requestId: id, expect, progress: each } = {}) {
    return this.command("TRIGGER", { tool, args, expect }, { id, each, isSafe: true });
  }

  resume(suspensionId, value, error) {
    return this.command("RESUME", { suspensionId, value, error }, { isSilent: true });
  }

  cancel(requestId) {
    this.say({ type: "CANCEL", requestId });
  }

  take(type, told, id) {
    if (type === "patch" || type === "event") {
      if (this.isOld(told.offset)) return;
      if (told.mutations) this.state = changed(this.state, told.mutations);
      this.enter(type, told);
    } else if (type === "connected") this.#begin(told);
    else {
      const { result, status } = told;
      if (type === "status") this.status = status;
      else if (result && result.status !== "suspended") this.settle(id, result);
      else this.goOn(id, result ?? told);
      this.change(type, told);
    }
  }

  #begin({ recovered, state, offset, epoch, panelId, status, tools }) {
    if (!recovered || !this.epoch) assign(this, { state, offset });
    assign(this, { epoch, panelId, status, tools });
    this.change("connected", { recovered });
  }
}

/** A state after its mutations. Keys are those of the top level; one with a slash in front is a JSON
 * Pointer (RFC 6901), of one part. */
function changed(state, mutations) {
  const made = { ...state };
  for (const { op, key, value } of mutations) {
    const name = key[0] === "/" ? key.slice(1).replaceAll("~1", "/").replaceAll("~0", "~") : key;
    put(made, name, value, op !== "set");
  }
  return made;
}

function put(parts, name, value, isGone) {
  if (isGone) delete parts[name];
  else parts[name] = value;
}

// -- runs ----------------------------------------------------------------------------------------

class RunClient extends Client {
  key = "ref";
  snapshot = null;

  decide(decision) {
    return this.command("human_decision", decision, { isSafe: true });
  }

  pause() {
    return this.command("pause_execution");
  }

  resume() {
    return this.command("resume_execution");
  }

  cancel() {
    return this.command("cancel_execution");
  }

  mutate(mutation, topology_version = this.snapshot?.topology_version) {
    return this.command("mutate_dag", { mutation, topology_version });
  }

  take(type, told, id) {
    if (type === "ack") return this.settle(id);
    if (type === "snapshot") return this.#begin(told);
    if (this.isOld(told.offset)) return;
    const { snapshot, offset, epoch } = this;
    if (offset > snapshot.offset) this.snapshot = { ...snapshot, ...after(snapshot, type, told), offset };
    if (type === "dag_mutated") this.say({ type: "resync", since: offset, epoch });
    this.enter(type, told);
  }

  #begin({ recovered, at, ...snapshot }) {
    const { offset, epoch } = snapshot;
    if (!recovered || !this.epoch) this.offset = offset;
    assign(this, { epoch, snapshot });
    this.change("snapshot", snapshot);
  }
}

/** What an entry of the log changes of a run. Nodes are exchanged in place: there may be many. */
function after({ run, nodes, open_gates: gates }, type, { offset, at, node_id, ...told }) {
  const id = told.presentation?.gate_id ?? told.gate_id;
  const others = gates.filter(({ presentation }) => presentation.gate_id !== id);
  switch (type) {
    case "node_state": {
      const { needs, title, attempt } = nodes[node_id] ?? {};
      nodes[node_id] = { needs, title, attempt, ...told };
      if (told.status === "paused") return {};
      return { open_gates: gates.filter((gate) => gate.node_id !== node_id) };
    }
    case "human_gate_waiting":
      return { open_gates: [...others, { node_id, ...told }] };
    case "gate_decided":
      return { open_gates: others };
    case "cost_update":
      return { cost: told };
    case "run_state":
      return { run: { ...run, status: told.status } };
    case "execution_complete":
      return { outcome: told.outcome, results: told.results };
  }
}

// -- incubators ----------------------------------------------------------------------------------

class IncubatorClient extends Client {
  key = "callId"; // with it everything is done once
  state = {};
  claims = {};
  stopped = null;
  tools = [];
  metrics = null;
  isReplayed = false;
  #isChosen; // whether this socket's address has the types, or they were told over it

  begin() {
    if (!this.#isChosen) this.subscribe(this.options.types);
    super.begin();
  }

  address() {
    const { namespace, types, agentId, role } = this.options;
    this.#isChosen = true;
    return { namespace, types, agentId, role, ...super.address() };
  }

  publish(event, data, options) {
    return this.#act("publish", { event, data, ...options });
  }

  call(tool, args = {}, { callId, ...options } = {}) {
    return this.#act("dance_call", { tool, args, ...options }, callId);
  }

  setState(key, value, options) {
    return this.#act("set_state", { key, value, ...options });
  }

  deleteState(key) {
    return this.#act("delete_state", { key });
  }

  claim(resource, options) {
    return this.#act("claim", { resource, ...options });
  }

  release(resource) {
    return this.#act("release", { resource });
  }

  control(command, reason = "", options) {
    return this.#act("control", { command, reason, ...options });
  }

  wait(options) {
    return this.#act("wait", { since: this.offset ?? undefined, ...options });
  }

  #act(type, fields, id) {
    return this.command(type, fields, { id, isSafe: true });
  }

  reset() {
    return this.command("reset", {}, { key: "requestId", isSilent: true });
  }

  renew(token) {
    return super.renew(token, "requestId");
  }

  subscribe(types) {
    this.options.types = types;
    this.#isChosen = this.say({ type: "subscribe", types });
  }

  take(type, told, id) {
    const { cursor: offset, epoch } = told;
    if (id) return this.#answer(id, told);
    if (type === "metrics") this.metrics = told.data;
    else if (type === "dance_tools") this.tools = told.tools;
    else if (type === "state") assign(this, { state: told.state, offset });
    else if (type === "replay_done") assign(this, { offset, epoch, isReplayed: true });
    else if (type === "gap" || type === "reset") {
      assign(this, { state: {}, claims: {}, epoch });
    } else if (this.isOld(told.id)) return;
    else {
      this.#fold(type, told);
      return this.enter(type, told);
    }
    this.change(type, told.data ?? told);
  }

  #answer(id, { result, eventId, version, fence, event }) {
    const { error, code, ...more } = result ?? {};
    if (error && code && !Object.keys(more).length) this.refuse(id, refusalOf(code, error));
    else this.settle(id, result ?? eventId ?? version ?? fence ?? event);
  }

  // Parts are exchanged in place: there may be many.
  #fold(type, told) {
    if (type === "state_changed") put(this.state, told.key, told.value, told.deleted);
    else if (type === "claim_changed")
      put(this.claims, told.resource, told, /released|expired/.test(told.status));
    else if (type === "control" && !told.target) this.stopped = told.command === "resume" ? null : told;
  }
}

const connecting = (Kind) => (...given) => new Kind(...given);
export const connectMachine = connecting(MachineClient);
export const connectPanel = connecting(PanelClient);
export const connectRun = connecting(RunClient);
export const connectIncubator = connecting(IncubatorClient);
